// The situation of a request, such as a device or an hour: what the served snapshot declares, and nothing where it declares none.

import { find, say } from "./dom.js";
import { entered, entry, typeIn } from "./forms.js";

let entries = [], drawn = "";

/** Show an input for each declared column; `declared` gives their types in words, by name. */
export function offerSituation(declared, onchange) {
  const state = JSON.stringify(declared);
  if (state === drawn) return; // what was typed stays
  drawn = state;
  const changed = () => {
    const set = Object.keys(situation()).length;
    say(find("#situation-set"), set ? ` (${set} given)` : "");
    onchange();
  };
  entries = Object.entries(declared).map(([name, words]) => entry({ name, type: typeIn(words) }, changed));
  find("#situation").hidden = !entries.length;
  find("#situation-entries").replaceChildren(...entries.map((one) => one.element));
}

/** What is given, by name. */
export const situation = () => entered(entries);
