// All adapters: what people call them, how well each does, and two beside each other.

import { drawComparison } from "./comparison.js";
import { find, make, quoted, readable, say } from "./dom.js";

const place = find("#adapters"), difference = find("#adapters-difference");
const FIGURES = { recommendation: ["recsys", "ndcg@10", "NDCG@10"], classification: ["dev", "accuracy", "accuracy"], pretraining: ["perplexity", "after", "perplexity"] };
let chosen = []; // ids of at most two, the older choice first
let drawn = [];
let compared = ""; // the two that stand beside each other, so that they are measured once

/** What people call it: aliases, tags and a note, which are theirs and stand isolated. */
export function names({ aliases = [], tags = [], note = null }) {
  const chip = (text, alone) => make("span", { class: alone ? "chip alone" : "chip name" }, quoted(text));
  return [...aliases.map((one) => chip(one, false)), ...tags.map((one) => chip(one, true)), note ? make("p", { class: "note" }, quoted(note)) : null];
}

/** Show the cards of GET /v1/adapters, the newest first. */
export function drawAdapters(cards) {
  drawn = [...cards].sort((one, other) => (other.made ?? "").localeCompare(one.made ?? "") || one.id.localeCompare(other.id));
  chosen = chosen.filter((id) => drawn.some((card) => card.id === id));
  place.hidden = !drawn.length;
  find("#adapter-rows").replaceChildren(...drawn.map(row));
  compare();
}

function row(card) {
  const cell = (label, ...children) => make("td", { data: { label } }, ...children);
  const box = make("input", { type: "checkbox", checked: chosen.includes(card.id), label: `Compare adapter ${card.id}`, onchange: () => choose(card.id, box.checked) });
  const from = card.training?.merged?.parents ?? [card.parent].filter(Boolean);
  return make("tr", {},
    cell("Compare", box),
    cell("Adapter", make("span", { class: "id" }, card.id), card.serving ? make("span", { class: "chip" }, "serving") : null, ...names(card)),
    cell("Made", card.made ? new Date(card.made).toLocaleString() : "–"), cell("For", quoted(card.task)),
    cell("From", from.length ? from.join(" + ") : "–"), cell("Snapshot", card.snapshot ?? "–"), cell("Measured", figure(card)));
}

function figure({ task, metrics }) {
  const [group, name, title] = FIGURES[task] ?? [];
  const value = metrics?.[group]?.[name];
  return typeof value === "number" ? `${title} ${value.toFixed(4)}` : "–";
}

function choose(id, wanted) {
  chosen = [...chosen.filter((one) => one !== id), ...(wanted ? [id] : [])].slice(-2);
  find("#adapter-rows").replaceChildren(...drawn.map(row));
  compare();
}

function compare() {
  const [first, second] = chosen.map((id) => drawn.find((card) => card.id === id));
  difference.hidden = !second;
  const pair = second ? `${first.id} ${second.id}` : "";
  const changed = pair !== compared;
  compared = pair;
  if (!second) return;
  if (changed) drawComparison(first.id, second.id);
  const drawnBy = ({ snapshot, protocol, settings = {} }) => JSON.stringify([snapshot, protocol, settings.seed, settings.evaluation, settings.signals]);
  const same = drawnBy(first) === drawnBy(second);
  say(find("#difference-note"), same ? "" : "They were asked different targets, so these metrics cannot be compared.");
  const [one, other] = [first, second].map(({ task, base, snapshot, protocol, parent, settings, metrics }) => flat({ task, base, snapshot, protocol, parent, settings, metrics }));
  const differing = [...new Set([...Object.keys(one), ...Object.keys(other)])].filter((name) => JSON.stringify(one[name] ?? null) !== JSON.stringify(other[name] ?? null));
  const cells = (name) => [one[name], other[name]].map((value) => make("td", {}, rounded(value) || "–"));
  find("#difference-head").replaceChildren(make("th", { scope: "col" }, "What differs"), ...[first, second].map((card) => make("th", { scope: "col" }, card.id)));
  find("#difference-rows").replaceChildren(...differing.map((name) => make("tr", {}, make("td", {}, quoted(name)), ...cells(name))));
  if (!differing.length) say(find("#difference-note"), "They differ in nothing that their cards say.");
}

/** A value, and of a fraction what a reader compares. */
const rounded = (value) => (typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(4))) : readable(value));

function flat(values, prefix = "") {
  return Object.entries(values ?? {}).reduce((found, [name, value]) => {
    const nested = value !== null && typeof value === "object" && !Array.isArray(value);
    return { ...found, ...(nested ? flat(value, `${prefix}${name}.`) : { [`${prefix}${name}`]: value }) };
  }, {});
}
