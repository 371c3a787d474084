// A page of rows: several lists at once for one person, as cards below their titles.

import { post } from "./api.js";
import { learn, remember, shownFields } from "./catalogue.js";
import { button, count, find, joined, make, quoted, readable, say } from "./dom.js";
import { FALLBACKS } from "./lists.js";
import { add } from "./person.js";
import { taken } from "./service.js";

const root = find("#rows"), note = find(".note", root), leftOut = find("#left-out");
let ending = null;

/** Ask for the page, as what serves makes it. */
export async function loadRows({ path, body }) {
  ending?.abort();
  ending = new AbortController();
  const { signal } = ending;
  root.setAttribute("aria-busy", "true");
  try {
    const answer = await post(path, taken(path, { ...body, fields: shownFields(), record: false }), signal); // looking is no showing
    const items = answer.rows.flatMap((row) => row.items);
    if (items.length && (await learn(items[0].item_id).catch(() => false))) return loadRows({ path, body }); // now with more columns
    remember(items.map((item) => ({ ...item, title: item.fields.title })));
    draw(answer);
  } catch (error) {
    if (error.name === "AbortError") return; // a newer request is under way
    find("#row-list").replaceChildren();
    leftOut.hidden = true;
    say(note, error.message, true);
  }
  root.setAttribute("aria-busy", "false");
}

function draw({ rows, left_out: absent, missing_ids: unknown, generation, adapter, took_ms: took }) {
  say(find(".origin", root), `generation ${generation} · adapter ${adapter} · ${took.toFixed(1)} ms`);
  say(note, unknown.length ? ["Not in this catalogue: ", ...joined(unknown, ", "), "."] : rows.length ? "" : "No row has enough items. Loosen the filter.");
  find("#row-list").replaceChildren(...rows.map(section));
  leftOut.hidden = !absent.length;
  say(find("summary", leftOut), `${count(absent.length, "row")} left out`);
  find("ul", leftOut).replaceChildren(...absent.map((one) => make("li", {}, make("b", {}, quoted(one.recipe)), ": ", quoted(one.reason))));
}

function section(row) {
  const place = make("section", { class: "row", data: { recipe: row.recipe } },
    make("div", { class: "head" }, make("h2", {}, quoted(row.title)), make("span", { class: "chip alone" }, quoted(row.recipe))),
    row.fallback ? make("p", { class: "note" }, FALLBACKS[row.fallback] ?? row.fallback) : null,
    make("ol", { class: "cards" }, ...row.items.map(card)));
  place.setAttribute("aria-label", readable(row.title));
  return place;
}

function card(item) {
  const title = readable(item.fields.title), { title: _, ...others } = item.fields;
  const fields = joined(Object.values(others).map(readable).filter(Boolean), " · ");
  return make("li", { class: "card", data: { item: item.item_id } },
    make("p", { class: "title" }, quoted(title)),
    fields.length ? make("p", { class: "fields" }, ...fields) : null,
    item.reasons.length ? make("p", { class: "reason" }, ...joined(item.reasons, " · ")) : null,
    button("+", () => add({ item_id: item.item_id, title }), "quiet small", `Add ${title} to the history`));
}
