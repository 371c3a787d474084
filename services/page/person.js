// Who the lists are for: a user by id, or a history put together by ids, from a search or from a list.

import { get, post } from "./api.js";
import { showAttributes } from "./attributes.js";
import { remember, shownFields } from "./catalogue.js";
import { button, count, find, joined, make, quoted, readable, say } from "./dom.js";
import { filter } from "./filter.js";

const MOST_SHOWN = 100;
const FOUND = 12;
// What an event is to the served generation, by its role; a dislike stands out.
const ROLES = { target: "target", positive: "counts", negative: "disliked", seen: "only seen", ignored: "ignored" };
const UNCOUNTED = ["negative", "seen", "ignored"];
const note = find("#history-note"), list = find("#history");
let kind = "user";
let user = "";
let usersPast = null; // of the user, oldest first; null where it is not known
let own = []; // the history put together here, oldest first, as {item_id, title}
let changed = () => {};

/** The part of a request that says who it is for; nobody yet is an empty history. */
export function person() {
  return kind === "user" && user ? { user_id: user } : { history: kind === "user" ? [] : own.map((item) => item.item_id) };
}

export function startPerson(onchange) {
  changed = onchange;
  for (const radio of document.querySelectorAll("[name=kind]")) radio.onchange = () => show(radio.value);
  find("#user-form").onsubmit = (event) => {
    event.preventDefault();
    user = find("#user").value.trim();
    usersPast = null;
    refresh();
    loadPast();
  };
  find("#ids-form").onsubmit = async (event) => {
    event.preventDefault();
    const ids = find("#ids").value.split(",").map((id) => id.trim()).filter(Boolean);
    find("#ids").value = "";
    own.push(...(await Promise.all(ids.map(titled))));
    refresh();
  };
  find("#clear-history").onclick = () => { own = []; refresh(); find("#ids").focus(); };
  find("#edit-history").onclick = () => { own = chosen(usersPast); show("history"); };
  find("#search-form").onsubmit = search;
  draw();
}

/** Add an item to the history; while a user is shown, go on from what that user did. */
export function add(item) {
  if (kind === "user" && user && usersPast) own = chosen(usersPast);
  own.push(item);
  show("history");
  say(note, ["Added “", quoted(item.title), "”."]);
}

/** What of a past counts for the lists: ids cannot say that something was disliked. */
const chosen = (past) => past.filter((event) => !UNCOUNTED.includes(event.means));

async function titled(id) {
  const item = await get(`/v1/items/${encodeURIComponent(id)}`).catch(() => null);
  return { item_id: id, title: item ? readable(item.fields.title) : "not in this catalogue" };
}

/** Look up what a user did; the key may not allow it, which does not keep the lists from being made. */
export async function loadPast() {
  if (!user) return;
  const asked = user;
  let found = null, refused = "";
  try {
    found = await get(`/v1/users/${encodeURIComponent(user)}?limit=${MOST_SHOWN}`);
  } catch (error) {
    refused = [401, 403].includes(error.status) ? "To see what a user did takes an admin key; the lists do not." : error.message;
  }
  if (asked !== user) return; // somebody else was asked for meanwhile
  usersPast = found?.history.map((event) => ({ ...event, title: event.title ?? "not in this catalogue" })) ?? null;
  remember(usersPast ?? []);
  showAttributes(kind === "user" ? found : null);
  draw();
  const total = found ? found.events.snapshot + found.events.live : 0;
  const more = found && total > found.history.length ? `, the newest ${found.history.length} shown` : "";
  if (kind === "user") say(note, refused || (total ? `${count(total, "event")}, ${found.events.live} of them live${more}` : "Nothing is known of this user."));
}

function show(next) {
  kind = next;
  find(`[name=kind][value=${kind}]`).checked = true;
  refresh();
}

function refresh() {
  draw();
  changed();
}

function draw() {
  const asUser = kind === "user", past = asUser ? (usersPast ?? []) : own;
  find("#user-form").hidden = !asUser;
  find("#ids-form").hidden = asUser;
  if (!asUser || !usersPast) showAttributes(null);
  find("#clear-history").hidden = asUser || !own.length;
  find("#edit-history").hidden = !asUser || !past.length;
  say(note, asUser ? (user ? "" : "Nobody yet: the lists show what is popular.") : own.length ? count(own.length, "item") : "Add items by id, from the search below, or from the lists.");
  const rows = past.map((item, place) => {
    const when = item.timestamp ? new Date(item.timestamp).toLocaleDateString().replace(/\p{Cf}/gu, "") : item.item_id;
    const row = make("li", { class: item.means ?? "" }, make("span", { class: "name" }, quoted(item.title), make("small", {}, ...kindOf(item), quoted(when), item.source === "live" ? " · live" : "")));
    if (asUser && item.means) row.append(make("span", { class: `chip role ${item.means}` }, ROLES[item.means] ?? item.means));
    if (!asUser) row.append(button("×", () => { own.splice(place, 1); refresh(); }, "quiet small", `Remove ${readable(item.title)}`));
    return row;
  });
  list.replaceChildren(...rows.reverse());
}

/** The kind of an event and its value, where it has them. */
function kindOf({ event_type: type, value }) {
  const told = value === null || value === undefined ? "" : readable(value);
  if (!type && !told) return [];
  return [...(type ? [quoted(type)] : []), told ? `${type ? " " : "value "}${told}` : "", " · "];
}

async function search(event) {
  event.preventDefault();
  const query = find("#query").value.trim(), status = find("#search-note"), found = find("#found");
  say(status, "Searching … the first search after a start loads the encoder.");
  try {
    const answer = await post("/v1/search", { query, k: FOUND, filter: filter(), fields: shownFields() });
    const popular = answer.fallback ? " Nothing to look for, so these are popular." : "";
    say(status, answer.items.length ? `${count(answer.items.length, "item")} in ${Math.round(answer.took_ms)} ms${filter() ? ", filtered" : ""}.${popular}` : "Nothing was found.");
    found.replaceChildren(...answer.items.map((item) => {
      const title = readable(item.fields.title);
      const by = joined([readable(item.fields.year), item.found_by.length ? `by ${item.found_by.join(" and ")}` : ""].filter(Boolean), " · ");
      return make("li", {}, make("span", { class: "name" }, quoted(title), make("small", {}, ...by)),
        button("Add", () => add({ item_id: item.item_id, title }), "quiet small", `Add ${title} to the history`));
    }));
  } catch (error) {
    found.replaceChildren();
    say(status, error.message, true);
  }
}
