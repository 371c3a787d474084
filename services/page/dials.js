// What a shop turns beside taste: boosts and burials by conditions, a second objective, and new items to be seen.

import { button, decimals, find, say } from "./dom.js";
import { FilterEditor } from "./filter.js";
import { bodyOf } from "./service.js";

const PARTS = { boosts: "#boosts-part", objective: "#objective-part", new_items: "#new-items-part" };
let boosts = [], changed = () => {};

export function startDials(onchange) {
  changed = () => {
    const set = Object.values(dials()).flat().length;
    say(find("#dials-set"), set ? ` (${set} on)` : "");
    onchange();
  };
  find("#add-boost").onclick = () => addBoost();
  for (const id of ["weight", "slots", "new-strength"]) bound(find(`#${id}`));
  find("#objective").onchange = changed;
  offerDials();
}

/** Show the dials that a route has. */
export function offerDials(path = "/v1/recommend") {
  const properties = bodyOf(path)?.properties ?? {};
  for (const [name, part] of Object.entries(PARTS)) find(part).hidden = !(name in properties);
  find("#dials").hidden = !Object.keys(PARTS).some((name) => name in properties);
}

/** What is turned, as the fields of a request. */
export function dials() {
  const asked = {}, number = (id) => Number(find(id).value);
  const moved = boosts.map(({ editor, strength }) => ({ filter: editor.value, strength: Number(strength.value) })).filter((one) => one.filter && one.strength);
  if (moved.length) asked.boosts = moved;
  const field = find("#objective").value.trim();
  if (field) asked.objective = { field, weight: number("#weight") };
  if (number("#slots") || number("#new-strength")) asked.new_items = { slots: number("#slots"), strength: number("#new-strength") };
  return asked;
}

function addBoost() {
  const row = find("#boost").content.cloneNode(true).firstElementChild, strength = find("input[type=range]", row);
  const boost = { strength, editor: new FilterEditor(row, changed) };
  strength.id = `strength-${boosts.length}-${Date.now()}`;
  find(".dial label", row).htmlFor = strength.id;
  find(".head", row).append(button("×", () => { boosts = boosts.filter((one) => one !== boost); row.remove(); changed(); find("#add-boost").focus(); }, "quiet small", "Remove this boost"));
  bound(strength, (value) => (value ? `${decimals(Math.abs(value))} ${value < 0 ? "down" : "up"}` : "0"));
  boosts.push(boost);
  find("#boosts").append(row);
  find("input", boost.editor.add()).focus();
}

function bound(slider, words = String) {
  const shown = find("output", slider.closest(".dial"));
  const tell = () => say(shown, words(Number(slider.value)));
  slider.oninput = () => { tell(); changed(); };
  tell();
}
