// What a user is like: shown, and said anew in a form whose inputs are of the types that the service names.

import { put } from "./api.js";
import { find, joined, readable, say } from "./dom.js";
import { entered, entry, typeIn } from "./forms.js";

let declared = {}, of = null, entries = [], changed = () => {};
const note = find("#attributes-note");

export function startAttributes(onchange) {
  changed = onchange;
  find("#attributes-form").onsubmit = save;
}

/** Take the attributes that the service knows of, as types in words by name. */
export function declareAttributes(types) {
  if (JSON.stringify(types) === JSON.stringify(declared)) return;
  declared = types;
  draw();
}

/** Show what is known of a user, as GET /v1/users/{id} says it; null: of nobody. */
export function showAttributes(user) {
  if (user?.user_id !== of?.user_id) say(note, "");
  of = user;
  draw();
}

function draw() {
  const known = of?.attributes ?? {}, names = [...new Set([...Object.keys(declared), ...Object.keys(known)])];
  find("#attributes").hidden = !of || !names.length;
  const told = Object.entries(known).map(([name, value]) => `${name} ${readable(value)}`);
  say(find("#attributes summary"), told.length ? ["What the user is like: ", ...joined(told, " · ")] : "What the user is like: not known");
  entries = names.map((name) => entry({ name, type: typeIn(declared[name] ?? ""), hint: declared[name] ?? "", value: known[name] ?? null }));
  find("#attributes-entries").replaceChildren(...entries.map((one) => one.element));
}

async function save(event) {
  event.preventDefault();
  const { user_id: user } = of;
  try {
    await put(`/v1/users/${encodeURIComponent(user)}`, { attributes: entered(entries) });
    if (of?.user_id !== user) return;
    await changed();
    say(note, "Saved; the lists know it.");
  } catch (error) {
    say(note, error.message, true);
  }
}
