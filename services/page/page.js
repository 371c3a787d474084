// The page's start: binds its parts together, and asks again when something changes.

import { key } from "./api.js";
import { find, say } from "./dom.js";
import { filter, startFilter } from "./filter.js";
import { loadGenerations, startGenerations } from "./generations.js";
import { loadLists, offer, startLists } from "./lists.js";
import { loadPast, person, startPerson } from "./person.js";

const TYPING_MS = 250; // how long to wait for the next change of a control
const WATCHING_MS = 10_000; // between two looks at what serves
const REACH = { admin: "", limited: "This key may not administer.", none: "A key is needed.", unknown: "" };
let waiting;

function later() {
  clearTimeout(waiting);
  waiting = setTimeout(loadLists, TYPING_MS);
}

async function look() {
  const reach = await loadGenerations();
  const text = reach === "none" && key.get() ? "This key is unknown or revoked." : REACH[reach];
  say(find("#key-state"), reach === "admin" && key.get() ? "Admin key in use." : text);
}

startPerson(loadLists);
startFilter(later);
startLists(() => ({
  ...person(),
  k: Number(find("#k").value),
  diversity: Number(find("#diversity").value),
  exclude_seen: find("#exclude-seen").checked,
  explain: find("#explain").checked,
  filter: filter(),
}));
startGenerations((adapters, serving, generations) => {
  offer(adapters, serving, generations);
  loadLists();
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
  loadLists();
  loadPast();
};
setInterval(() => document.hidden || look(), WATCHING_MS);
look();
