// How an item of a list is shown, and why it is there.

import { button, decimals, joined, make, quoted, readable } from "./dom.js";
import { add } from "./person.js";

export const FALLBACKS = { filled: "What is known did not fill the list, so popular items complete it.", segment: "Nothing is known of what was done, so these are the favourites of people alike.", popular: "Nothing usable is known, so these are everybody's favourites.", degraded: "The database cannot be read, so these are everybody's favourites." };
export const SCORERS = { towers: "taste (towers)", ids: "taste (ids)", content: "text", lexical: "shared words", rules: "what follows what", knn: "seen together (knn)", ease: "seen together (ease)", popularity: "popularity", again: "comes back to it" };
const DIALS = { boosts: "boosts and burials", objective: "second objective", exploration: "new items seen" };
const ALIKE = { segment: "people alike", context: "situation alike" };
const MOST_PARTS = 5;

/** A row of a list; `share` is how long the bar of its score is. */
export function itemRow(item, place, share) {
  const title = readable(item.fields.title), { title: _, ...others } = item.fields;
  const fields = joined(Object.values(others).map(readable).filter(Boolean), " · ");
  const bar = make("i");
  bar.style.width = `${Math.max(2, 100 * share)}%`;
  return make("li", { data: { item: item.item_id } },
    make("span", { class: "place" }, String(place + 1)),
    make("span", { class: "title" }, quoted(title)),
    make("span", { class: "side" }, button("+", () => add({ item_id: item.item_id, title }), "quiet small", `Add ${title} to the history`)),
    fields.length ? make("p", { class: "fields" }, item.promoted ? "promoted · " : item.new ? "new · " : "", ...fields) : null,
    make("div", { class: "score" }, make("span", { class: "bar" }, bar), make("b", { title: "score" }, decimals(item.score))),
    item.reasons?.length ? make("p", { class: "reason" }, ...joined(item.reasons, " · ")) : null,
    item.explanation ? why(item.explanation) : null);
}

function why(explanation) {
  const { components, history, words } = explanation;
  const carried = [...history].sort((one, other) => Math.abs(other.score) - Math.abs(one.score)).slice(0, MOST_PARTS);
  return make("details", {}, make("summary", {}, "The score in parts"),
    make("h3", {}, "By scorer"), parts(components.map((one) => [nameOf(one.name), one.score])),
    ...(carried.length ? [make("h3", {}, "By what the history holds"), parts(carried.map((one) => [one.title, one.score]))] : []),
    ...(words.length ? [make("h3", {}, "Words in common"), make("ul", { class: "words" }, ...words.map((one) => make("li", {}, quoted(one.word))))] : []));
}

function parts(named) {
  const most = Math.max(...named.map(([, score]) => Math.abs(score)), 1e-9);
  return make("ul", { class: "parts" }, ...named.map(([name, score]) => {
    const bar = make("i", { class: score < 0 ? "less" : "" });
    bar.style.width = `${(100 * Math.abs(score)) / most}%`;
    return make("li", {}, make("span", {}, quoted(name)), make("span", { class: "bar" }, bar), make("b", {}, decimals(score)));
  }));
}

/** What a part of a score is called: a scorer, a dial, or people or a situation alike in a field. */
function nameOf(component) {
  const [kind, ...field] = component.split(".");
  return SCORERS[component] ?? DIALS[component] ?? (field.length && kind in ALIKE ? `${ALIKE[kind]}: ${field.join(".")}` : component);
}
