// The page's start: binds its parts together, and asks again when something changes.

import { key } from "./api.js";
import { declareAttributes, startAttributes } from "./attributes.js";
import { loadLists, offer, startLists } from "./columns.js";
import { dials, offerDials, startDials } from "./dials.js";
import { find, say } from "./dom.js";
import { filter, startFilter } from "./filter.js";
import { loadGenerations, startGenerations } from "./generations.js";
import { loadPast, person, startPerson } from "./person.js";
import { missing, offerLists, PAGE, recipe, startRecipe } from "./recipe.js";
import { loadRows } from "./rows.js";
import { bodyOf, readService } from "./service.js";
import { offerSituation, situation } from "./situation.js";

const TYPING_MS = 250; // how long to wait for the next change of a control
const WATCHING_MS = 10_000; // between two looks at what serves
const REACH = { admin: "", limited: "This key may not administer.", none: "A key is needed.", unknown: "" };
let waiting;

function load() {
  const { path } = recipe(), rows = path === PAGE, known = bodyOf(path)?.properties;
  offerDials(path);
  find("#diversity").closest(".dial").hidden = Boolean(known && !("diversity" in known));
  find("#rows").hidden = !rows;
  for (const part of [".overlap", ".columns"]) find(`#lists ${part}`).hidden = rows;
  return rows ? loadRows(wishes()) : loadLists();
}

function later() {
  clearTimeout(waiting);
  waiting = setTimeout(load, TYPING_MS);
}

/** The route to ask, and the body with all that is wished for. */
function wishes() {
  const { path, own } = recipe(), seen = find("#exclude-seen").value, context = situation();
  const body = {
    ...person(),
    k: Number(find("#k").value),
    diversity: Number(find("#diversity").value),
    explain: find("#explain").checked,
    filter: filter(),
    ...dials(),
    ...own,
  };
  if (seen) body.exclude_seen = seen === "true";
  if (Object.keys(context).length) body.context = context;
  return { path, body, missing: missing() };
}

async function look() {
  const reach = await loadGenerations();
  const text = reach === "none" && key.get() ? "This key is unknown or revoked." : REACH[reach];
  say(find("#key-state"), reach === "admin" && key.get() ? "Admin key in use." : text);
}

startPerson(load);
startAttributes(() => { later(); return loadPast(); });
startFilter(later);
startDials(later);
startRecipe(load);
startLists(wishes);
startGenerations((adapters, answer) => {
  offer(adapters, answer?.serving ?? null, answer?.generations ?? []);
  declareAttributes(answer?.attributes ?? {});
  offerSituation(answer?.context ?? {}, later);
  load();
});
for (const name of ["k", "diversity"]) {
  find(`#${name}`).oninput = () => {
    say(find(`#${name}-shown`), find(`#${name}`).value);
    later();
  };
}
for (const name of ["exclude-seen", "explain"]) find(`#${name}`).onchange = later;
find("#key").value = key.get();
find("#key-form").onsubmit = async (event) => {
  event.preventDefault();
  key.set(find("#key").value.trim());
  await look();
  load();
  loadPast();
};
setInterval(() => document.hidden || look(), WATCHING_MS);
look();
readService().then(() => {
  offerLists();
  offerDials();
});
