// Which list is asked for: the one for this person, a named list of a shop with its own fields, or a page of rows.

import { find, make, say } from "./dom.js";
import { entered, entry } from "./forms.js";
import { bodyOf, kindOf, knows, listPaths } from "./service.js";

const PERSON = "/v1/recommend", SIMILAR = "/v1/similar";
export const PAGE = "/v1/page";
const TITLES = { [PERSON]: "For this person", [SIMILAR]: "Like an item", [PAGE]: "A page of rows" };
const NOTES = { [SIMILAR]: "Items like one, by what is written of them, by what people choose, or both.", [PAGE]: "Several lists at once, those first that suit the person; no item stands in two of them." };
const NAMES = { item_id: "Item id", item_ids: "Item ids, between commas", by: "Alike by", days: "Days", column: "Column that says when items came", segment: "Among people alike" };
const COMMON = ["user_id", "history", "k", "offset", "fields", "rows"];
const choice = find("#list-choice");
let entries = [], changed = () => {};

export function startRecipe(onchange) {
  changed = onchange;
  choice.onchange = () => { draw(); changed(); };
  offerLists();
}

/** Offer the lists that the service has. */
export function offerLists() {
  const offered = [PERSON, ...[SIMILAR].filter(knows), ...listPaths(), ...[PAGE].filter(knows)];
  choice.replaceChildren(...offered.map((path) => make("option", { value: path }, TITLES[path] ?? named(path))));
  find("#list-kind").hidden = offered.length < 2;
  draw();
}

/** The route to ask, and what is asked of it alone. */
export const recipe = () => ({ path: choice.value, own: entered(entries) });

/** What is missing before the list can be asked for, in words; empty where nothing is. */
export function missing() {
  const needed = entries.find((one) => one.needed && one.read() === undefined);
  return needed ? `${choice.selectedOptions[0].text}: give ${needed.name === "item_ids" ? "item ids" : "an item id"} first.` : "";
}

const named = (path) => {
  const words = path.split("/").pop().replaceAll("-", " ");
  return words[0].toUpperCase() + words.slice(1);
};

function draw() {
  const path = choice.value, body = bodyOf(path) ?? {}, shared = bodyOf(PERSON)?.properties ?? {};
  const own = Object.entries(body.properties ?? {}).filter(([name]) => !COMMON.includes(name) && !(name in shared));
  entries = (path === PERSON ? [] : own).map(([name, schema]) => asked(name, kindOf(schema), (body.required ?? []).includes(name)));
  find("#list-entries").replaceChildren(...entries.map((one) => one.element));
  say(find("#list-note"), NOTES[path] ?? (path === PERSON ? "" : body.description ?? ""));
}

function asked(name, kind, needed) {
  const type = { integer: "whole", number: "number", boolean: "flag", array: "list" }[kind.type] ?? "text";
  const suggest = { item_id: "items", column: "fields" }[name] ?? "";
  const one = entry({ name, type, title: NAMES[name] ?? name.replaceAll("_", " "), choices: kind.enum ?? null, least: kind.minimum ?? "", most: kind.maximum ?? "", suggest }, () => changed());
  if (kind.description) one.element.title = kind.description;
  return { ...one, needed };
}
