// What the items look like: the columns of one of them stand for all, since no route lists the schema.

import { get } from "./api.js";
import { find, make, readable } from "./dom.js";

const MOST_SHOWN = 3;
const SHORT = 60; // characters
const samples = new Map(); // by field, a value of it

/** Learn the columns from an item; return whether they were new. */
export async function learn(itemId) {
  if (samples.size) return false;
  const { fields } = await get(`/v1/items/${encodeURIComponent(itemId)}`);
  for (const [name, value] of Object.entries(fields)) samples.set(name, value);
  find("#fields").replaceChildren(...[...samples.keys()].map((name) => make("option", { value: name })));
  return samples.size > 0;
}

/** The columns that lists show: the title, and a few short others. */
export function shownFields() {
  const short = ([name, value]) => name !== "title" && typeof value !== "boolean" && readable(value) && readable(value).length <= SHORT && !/^https?:/.test(readable(value));
  return ["title", ...[...samples].filter(short).map(([name]) => name).slice(0, MOST_SHOWN)];
}

/** The type of a field's values, of a list's members: "number", "boolean", "string", or undefined where unknown. */
export function typeOf(field) {
  const value = samples.get(field);
  const one = Array.isArray(value) ? value[0] : value;
  return one === null || one === undefined ? undefined : typeof one;
}

export const isList = (field) => Array.isArray(samples.get(field));

const MOST_REMEMBERED = 200;
const titles = new Map(); // by id, of items that were shown, the newest last

/** Offer items that have been shown wherever the id of one is asked for. */
export function remember(items) {
  for (const { item_id: id, title } of items) {
    titles.delete(id);
    titles.set(id, readable(title));
  }
  for (const id of [...titles.keys()].slice(0, -MOST_REMEMBERED)) titles.delete(id);
  find("#items").replaceChildren(...[...titles].reverse().map(([id, title]) => make("option", { value: id }, title)));
}
