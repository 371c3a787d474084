// Two adapters on what both held out: the difference by slice with its interval, and what a few people get by each.

import { get } from "./api.js";
import { find, make, quoted, say } from "./dom.js";

const note = find("#comparison-note"), table = find("#slices"), people = find("#compared-people");
const PEOPLE = 3;
let asked = 0; // comparisons so far: an answer to an earlier one is not shown

/** Measure two adapters by their ids, and show what comes of it. */
export async function drawComparison(first, second) {
  const turn = (asked += 1);
  table.hidden = true;
  people.replaceChildren();
  say(note, "Measuring both on what they held out …");
  let answer;
  try {
    answer = await get(`/v1/adapters/${encodeURIComponent(first)}/compare/${encodeURIComponent(second)}?users=${PEOPLE}`);
  } catch (error) {
    if (turn === asked) say(note, error.message, true);
    return;
  }
  if (turn !== asked) return;
  say(note, answer.reason ? quoted(answer.reason) : "");
  if (!answer.measured) return;
  drawSlices(answer);
  people.replaceChildren(...answer.people.map((one) => lists(answer, one)));
}

function drawSlices({ first, second, measured }) {
  const { slices } = measured;
  const reach = Math.max(...slices.flatMap(({ low, high }) => [Math.abs(low), Math.abs(high)])) || 1;
  const head = ["Slice", "Targets", first, second, "Difference", "From worse to better"];
  find("caption", table).replaceChildren("NDCG@10 on what both held out, the second minus the first with 95 % intervals");
  find("thead tr", table).replaceChildren(...head.map((text) => make("th", { scope: "col" }, text)));
  find("tbody", table).replaceChildren(...slices.map((one) => {
    const cell = (label, ...children) => make("td", { data: { label } }, ...children);
    const told = `${signed(one.difference)} (${signed(one.low)} to ${signed(one.high)})`;
    return make("tr", {},
      cell("Slice", quoted(one.slice.replaceAll("_", " "))), cell("Targets", one.targets.toLocaleString()), cell("First", one.first.toFixed(4)),
      cell("Second", one.second.toFixed(4)), cell("Difference", told), cell("Interval", interval(one, reach, told)));
  }));
  table.hidden = false;
}

/** An interval on a line whose middle is no difference; `reach` is where the line ends. */
function interval({ difference, low, high }, reach, told) {
  const place = (value) => `${50 + (50 * value) / reach}%`;
  const [line, point, zero] = ["i", "b", "s"].map((name) => make(name));
  line.style.left = place(low);
  line.style.right = `${50 - (50 * high) / reach}%`;
  point.style.left = place(difference);
  zero.style.left = "50%";
  const chart = make("div", { class: `interval${low > 0 ? " better" : high < 0 ? " worse" : ""}`, label: told }, zero, line, point);
  chart.setAttribute("role", "img");
  return chart;
}

/** What one person gets by each of two adapters; what both lists hold stands out. */
function lists({ first, second }, one) {
  const titled = (item) => quoted(item.title ?? item.item_id);
  const shared = new Set(one.first.map((item) => item.item_id).filter((id) => one.second.some((item) => item.item_id === id)));
  const list = (id, items) => make("div", {}, make("p", { class: "id" }, id),
    make("ol", {}, ...items.map((item) => make("li", { class: shared.has(item.item_id) ? "both" : "" }, titled(item)))));
  const figures = `NDCG@10 ${one.first_ndcg.toFixed(2)} and ${one.second_ndcg.toFixed(2)}`;
  return make("section", { class: "pair", label: `Lists of ${one.user_id}` },
    make("h3", {}, quoted(one.user_id), ", held out: ", titled(one.held_out), ` (${figures})`), list(first, one.first), list(second, one.second));
}

const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(4)}`;
