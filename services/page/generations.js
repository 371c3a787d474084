// What serves, what else there is, and switching it, which is asked about first.

import { drawAdapters, names } from "./adapters.js";
import { begin, get, post, Refused } from "./api.js";
import { button, count, find, make, quoted, say } from "./dom.js";
import { SCORERS } from "./lists.js";

const dialog = find("#confirm"), note = find("#generations-note"), judged = find("#promotion-note");
let known = ""; // what was drawn last, so that a table that stays the same keeps its focus
let switched = () => {};
const PROMOTIONS = 20; // the newest
const RATES_MS = 60_000; // between two looks at what answers have brought, which takes the service longer than the rest
const JUDGED_MS = 500; // between two looks at what the gate says
let asked = 0; // how often the dialog was shown
let rates = { until: 0, of: {} };

async function brought() {
  if (Date.now() > rates.until) {
    const answer = await get("/v1/rates?hours=24");
    rates = { until: Date.now() + RATES_MS, of: Object.fromEntries(answer.rates.map((one) => [one.generation, one])) };
  }
  return rates.of;
}

/** `onswitch` is called with the adapters and GET /v1/generations' answer, or null, whenever they have become others. */
export function startGenerations(onswitch) {
  switched = onswitch;
  find("#confirm-no").onclick = () => dialog.close();
  find("form", dialog).onsubmit = (event) => { // Enter in the reason
    event.preventDefault();
    find("#confirm-yes").click();
  };
  find("#roll-back").onclick = () => confirm("Roll back?", "The generation that served before the current one serves again, in every worker.", "Roll back", false, (reason) => post("/v1/rollback", reason));
}

/** Ask what serves; return how far the key goes: "admin", "limited", "none" or "unknown". */
export async function loadGenerations() {
  let reach = "admin", answer = null, adapters = [], clicked = {}, promotions = [];
  try {
    [answer, { adapters }, clicked, { promotions }] = await Promise.all([
      get("/v1/generations"), get("/v1/adapters"), brought().catch(() => ({})), get(`/v1/promotions?limit=${PROMOTIONS}`).catch(() => ({ promotions: [] })),
    ]);
    say(note, answer.generations.length ? "" : "Nothing has been published yet.");
  } catch (error) {
    reach = { 401: "none", 403: "limited" }[error.status] ?? "unknown";
    say(note, reach === "unknown" ? error.message : "Listing generations, and switching them, takes an admin key.");
  }
  await readiness(answer);
  const state = JSON.stringify([answer, adapters.map((card) => [card.id, card.serving, card.generations, card.aliases, card.tags, card.note]), reach, clicked, promotions]);
  if (state !== known) {
    known = state;
    draw(answer, adapters, clicked);
    drawAdapters(adapters);
    drawPromotions(promotions);
    switched(adapters, answer);
  }
  return reach;
}

async function readiness(answer) {
  const state = find("#readiness"), problem = find("#problem");
  let trouble = answer?.problem ?? "";
  let ready = true;
  try {
    const { texts } = await get("/readyz");
    if (texts.startsWith("failed")) trouble ||= `Texts: ${texts}`;
  } catch (error) {
    ready = false;
    trouble ||= error.message;
  }
  say(state, ready ? (trouble ? "serving, with a problem" : "ready") : "not ready");
  state.className = `state ${ready && !trouble ? "good" : "bad"}`;
  say(problem, trouble);
  problem.hidden = !trouble;
  const serving = answer?.generations.find((one) => one.id === answer.serving);
  say(find("#serving"), answer ? (answer.serving ?? "none") : "–");
  say(find("#serving-adapter"), serving?.adapter ?? "–");
}

function draw(answer, adapters, clicked) {
  const generations = [...(answer?.generations ?? [])].sort((one, other) => (other.id === answer.serving) - (one.id === answer.serving));
  find("#generations table").hidden = !generations.length;
  find("#roll-back").hidden = !answer;
  find("#generation-rows").replaceChildren(...generations.map((one) => {
    const cell = (label, ...children) => make("td", { data: { label } }, ...children);
    const id = (text) => make("span", { class: "id" }, text ?? "–");
    const serves = one.id === answer.serving;
    const adapter = one.settings?.adapter, card = adapters.find((other) => other.id === one.adapter);
    const judging = answer.promoting?.generation === one.id;
    const last = serves ? make("td") : judging ? make("td", {}, make("span", { class: "chip alone" }, "being judged")) : make("td", {}, button("Promote", () => ask(one.id, answer.serving), "quiet small", `Promote generation ${one.id}`));
    return make("tr", {},
      cell("Generation", id(one.id), serves ? make("span", { class: "chip" }, "serving") : one.current ? make("span", { class: "chip alone" }, "wanted") : null, ...names(one), one.made ? make("p", { class: "note" }, `made ${new Date(one.made).toLocaleString()}`) : null),
      cell("Adapter", id(one.adapter), ...names(card ?? {}), part(one)), cell("Snapshot", id(one.snapshot)),
      cell("Items", one.index?.rows?.toLocaleString() ?? "–"), cell("Base model", adapter?.lora?.base ?? adapter?.base ?? "–"),
      cell("Clicked, 24 h", brings(clicked[one.id])), last);
  }));
}

/** What was served when, by whom and why; what the gate said, or what is broken, stands below what happened. */
function drawPromotions(promotions) {
  find("#promotions").hidden = !promotions.length;
  find("#promotion-rows").replaceChildren(...promotions.map((one) => {
    const cell = (label, ...children) => make("td", { data: { label } }, ...children);
    const id = (text) => make("span", { class: "id" }, text ?? "–");
    const findings = one.findings.length ? make("details", { class: "note" }, make("summary", {}, "what was found"), make("ul", {}, ...one.findings.map((text) => make("li", {}, quoted(text))))) : null;
    return make("tr", {},
      cell("When", new Date(one.at).toLocaleString()), cell("What", outcome(one), findings), cell("Generation", id(one.generation)),
      cell("Before", id(one.previous)), cell("By", quoted(one.by)), cell("Why", one.reason ? quoted(one.reason) : "–"));
  }));
}

function outcome({ action, forced, passed }) {
  if (action === "publish") return forced && !passed ? "published against the gate" : "published";
  return action === "rollback" ? "rolled back" : "refused";
}

/** What an adapter moves: the sentence where that is nothing, else its share and the weights behind it. */
function part({ weights, adapter_share: share, adapter_part: sentence }) {
  if (!weights) return null;
  if (!share) return make("p", { class: "note none" }, sentence);
  const rows = Object.entries(weights).map(([name, weight]) => make("li", {}, `${SCORERS[name] ?? name}: ${weight}`));
  return make("details", { class: "note" }, make("summary", { title: sentence }, `${Math.round(100 * share)} % of the blend’s weight`), make("ul", {}, ...rows));
}

function brings(rate) {
  if (!rate) return "–";
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  return `${percent(rate.rate)} of ${rate.lists.toLocaleString()} lists (${percent(rate.low)}–${percent(rate.high)})`;
}

function ask(id, serving) {
  const text = `Generation ${id} is loaded, verified and judged by the gate, then serves in every worker${serving ? ` in the place of ${serving}` : ""}. No request fails meanwhile.`;
  confirm("Promote this generation?", text, "Promote", true, (reason, tell) => promote(id, { force: find("#force").checked, ...reason }, tell));
}

/** Promote, and wait for what becomes of it, however long the gate takes; the dialog, which it tells, may be closed. */
async function promote(id, wish, tell) {
  let answer = await begin(`/v1/generations/${encodeURIComponent(id)}/promote`, wish);
  const since = Date.now();
  while (answer.state === "running") {
    const seconds = Math.round((Date.now() - since) / 1000);
    tell(`The gate judges generation ${id}: ${count(seconds, "second")} so far. It goes on if you close this.`);
    say(judged, `Generation ${id} is being judged …`);
    await new Promise((later) => setTimeout(later, JUDGED_MS));
    answer = await get(`/v1/promotions/${answer.promotion}`);
  }
  say(judged, "");
  if (answer.problem) throw new Refused(answer.problem.status, answer.problem.detail);
  return answer;
}

function confirm(title, text, verb, gated, act) {
  const yes = find("#confirm-yes"), error = find("#confirm-error");
  say(find("#confirm-title"), title);
  say(find("#confirm-text"), text);
  say(error, "");
  say(find("#confirm-state"), "");
  say(yes, verb);
  find("#force").checked = false;
  find("#reason").value = "";
  find("#force-line").hidden = !gated;
  yes.disabled = false;
  const shown = (asked += 1); // of one that is closed the page tells what became of it
  const here = () => dialog.open && shown === asked;
  const tell = (text) => here() && say(find("#confirm-state"), text);
  yes.onclick = async () => {
    yes.disabled = true;
    say(error, "");
    try {
      const reason = find("#reason").value.trim();
      const { generation, findings } = await act(reason ? { reason } : {}, tell);
      if (here()) dialog.close();
      await loadGenerations();
      say(note, [`Generation ${generation} serves.`, ...findings].join(" "));
    } catch (refused) {
      say(here() ? error : judged, refused.message, true);
    }
    if (shown !== asked) return;
    say(find("#confirm-state"), "");
    yes.disabled = false;
  };
  dialog.showModal();
}
