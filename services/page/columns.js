// Two lists for one person, each answered by what its choice names, and what they have in common.

import { post, Refused } from "./api.js";
import { learn, remember, shownFields } from "./catalogue.js";
import { count, find, joined, make, quoted, say } from "./dom.js";
import { FALLBACKS, itemRow } from "./lists.js";
import { taken } from "./service.js";

const SERVED = "served", PLAIN = "plain", OTHER = "other"; // choices beside generations
const TURNED = ["filter", "diversity", "boosts", "objective", "new_items"];
const columns = ["A", "B"].map((name) => new Column(name));
let wishes = () => ({});

function Column(name) {
  this.name = name;
  this.root = find(`#list-${name}`);
  this.root.append(find("#column").content.cloneNode(true));
  find("h2", this.root).textContent = name;
  this.choice = find("select", this.root);
  this.other = find("input", this.root);
  this.note = find(".note", this.root);
  this.title = find(".list-title", this.root);
  this.items = find(".items", this.root);
  this.answer = null;
  this.choice.onchange = () => {
    this.touched = true; // from here on the choice is the reader's
    find(".other", this.root).hidden = this.choice.value !== OTHER;
    if (this.choice.value === OTHER && !this.other.value) this.other.focus();
    else load(this);
  };
  this.other.onchange = () => load(this);
}

/** `current` gives the route of both lists and the body, without what answers it, or in `missing` what has to be said first. */
export function startLists(current) {
  wishes = current;
  offer([], null);
  for (const tab of document.querySelectorAll("[data-show]")) {
    tab.onclick = () => {
      find("#lists").dataset.shown = tab.dataset.show;
      for (const one of document.querySelectorAll("[data-show]")) one.setAttribute("aria-pressed", String(one === tab));
    };
  }
}

/** Offer the generations of all adapters, as GET /v1/adapters gives them, the newest first; a choice that is still there stays. */
export function offer(adapters, serving, generations = []) {
  const called = new Map([...generations, ...adapters].map((one) => [one.id, one.aliases ?? []]));
  const name = (id) => [id, ...(called.get(id) ?? [])].join(" · ");
  const others = adapters
    .filter((card) => card.can_answer)
    .flatMap((card) => card.generations.filter((id) => id !== serving).reverse().map((id) => ({ id, adapter: card.id })));
  for (const column of columns) {
    const before = column.choice.value;
    column.choice.replaceChildren(
      make("option", { value: SERVED }, serving ? `What serves now (${name(serving)})` : "What serves now"),
      make("option", { value: PLAIN }, "What serves now, without filter and dials"),
      ...others.map((one) => make("option", { value: one.id }, `Generation ${name(one.id)} (adapter ${name(one.adapter)})`)),
      make("option", { value: OTHER }, "Another adapter, by id or alias …"),
    );
    const usual = column.name === "A" ? SERVED : (others[0]?.id ?? PLAIN);
    const kept = [...column.choice.options].some((option) => option.value === before);
    column.choice.value = column.touched && kept ? before : usual;
    find(".other", column.root).hidden = column.choice.value !== OTHER;
  }
}

/** Ask for both lists again. */
export const loadLists = () => Promise.all(columns.map(load));

async function load(column) {
  column.ending?.abort();
  const ending = (column.ending = new AbortController());
  const { path, body: wish, missing } = wishes();
  const body = { ...wish, fields: shownFields(), record: false }; // looking is no showing
  const chosen = column.choice.value;
  if (chosen === PLAIN) for (const name of TURNED) delete body[name];
  else if (chosen === OTHER) body.adapter = column.other.value.trim() || "?";
  else if (chosen !== SERVED) body.generation = chosen;
  if (missing) return show(column, null, missing);
  column.root.setAttribute("aria-busy", "true");
  if (!column.answer) say(column.note, "Loading …");
  try {
    const answer = await listed(path, taken(path, body), ending.signal);
    const { items, fallback, missing_ids: unknown = [] } = answer;
    const notes = [items.length ? FALLBACKS[fallback] : "Nothing matches. Loosen the filter, or show what the history holds."];
    if (unknown.length) notes.push([" Not in this catalogue: ", ...joined(unknown, ", "), "."]);
    if (items.length) await learn(items[0].item_id).catch(() => false);
    if (String(shownFields()) !== String(body.fields)) return load(column); // the other list may have learnt them meanwhile
    remember(items.map((item) => ({ ...item, title: item.fields.title })));
    show(column, answer, notes.flat());
  } catch (error) {
    if (error.name !== "AbortError") show(column, null, error.message, true); // else a newer request is under way
  }
}

function show(column, answer, text, bad = false) {
  column.answer = answer;
  say(column.note, text, bad);
  column.root.setAttribute("aria-busy", "false");
  columns.forEach(draw);
  compare();
}

async function listed(path, body, signal) {
  try {
    return await post(path, body, signal);
  } catch (error) {
    // another generation's catalogue may lack the columns that this one's items have
    if (!(error instanceof Refused) || !error.message.startsWith("body.fields")) throw error;
    return post(path, { ...body, fields: ["title"] }, signal);
  }
}

function compare() {
  const [a, b] = columns.map((column) => new Set(column.answer?.items.map((item) => item.item_id)));
  const shared = [...a].filter((id) => b.has(id)).length;
  say(find("#overlap"), a.size && b.size ? `${shared} of ${count(Math.max(a.size, b.size), "item")} in both lists` : "");
}

function draw(column) {
  const other = columns.find((one) => one !== column), { answer } = column;
  say(find(".origin", column.root), answer ? `generation ${answer.generation} · adapter ${answer.adapter} · ${answer.took_ms.toFixed(1)} ms` : "");
  const asOf = answer?.as_of ? ` · as of ${new Date(answer.as_of).toLocaleDateString()}` : "";
  say(column.title, answer?.title ? [quoted(answer.title), make("small", {}, asOf)] : "");
  const items = answer?.items ?? [], scores = items.map((item) => item.score);
  const [least, most] = [Math.min(...scores, 0), Math.max(...scores)];
  const open = new Set([...column.items.querySelectorAll("details[open]")].map((one) => one.closest("li").dataset.item));
  column.items.replaceChildren(...items.map((item, place) => {
    const row = itemRow(item, place, most > least ? (item.score - least) / (most - least) : 1);
    const there = other.answer?.items.findIndex((one) => one.item_id === item.item_id) ?? -1;
    if (other.answer) find(".side", row).prepend(there >= 0 ? make("span", { class: "chip" }, `${other.name} ${there + 1}`) : make("span", { class: "chip alone" }, `only ${column.name}`));
    row.onpointerenter = row.onfocus = () => mark(item.item_id, there >= 0);
    row.onpointerleave = () => mark(item.item_id, false);
    if (open.has(item.item_id)) for (const details of row.querySelectorAll("details")) details.open = true;
    return row;
  }));
}

function mark(itemId, on) {
  for (const row of document.querySelectorAll(".items > li")) row.classList.toggle("twin", on && row.dataset.item === itemId);
}

