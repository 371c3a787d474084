// Two lists for one person, each answered by what its choice names, and what they have in common.

import { post, Refused } from "./api.js";
import { learn, shownFields } from "./catalogue.js";
import { button, count, decimals, find, joined, make, quoted, readable, say } from "./dom.js";
import { add } from "./person.js";

const SERVED = "served", PLAIN = "plain", OTHER = "other"; // choices beside generations
const FALLBACKS = { filled: "What is known did not fill the list, so popular items complete it.", segment: "Nothing is known of what was done, so these are the favourites of people alike.", popular: "Nothing usable is known, so these are everybody's favourites.", degraded: "The database cannot be read, so these are everybody's favourites." };
export const SCORERS = { towers: "taste (towers)", ids: "taste (ids)", content: "text", lexical: "shared words", rules: "what follows what", knn: "seen together (knn)", ease: "seen together (ease)", popularity: "popularity" };
const MOST_PARTS = 5;
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

/** `current` gives the body of a request for both lists, without what answers it. */
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
      make("option", { value: PLAIN }, "What serves now, without filter and diversity"),
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
  const body = { ...wishes(), fields: shownFields(), record: false }; // looking is no showing
  const chosen = column.choice.value;
  if (chosen === PLAIN) Object.assign(body, { filter: null, diversity: 0 });
  else if (chosen === OTHER) body.adapter = column.other.value.trim() || "?";
  else if (chosen !== SERVED) body.generation = chosen;
  column.root.setAttribute("aria-busy", "true");
  if (!column.answer) say(column.note, "Loading …");
  try {
    column.answer = await recommend(body, ending.signal);
    const { items, fallback, missing_ids: missing } = column.answer;
    const notes = [items.length ? FALLBACKS[fallback] : "Nothing matches. Loosen the filter, or show what the history holds."];
    if (missing.length) notes.push([" Not in this catalogue: ", ...joined(missing, ", "), "."]);
    say(column.note, notes.flat());
    if (items.length && (await learn(items[0].item_id).catch(() => false))) return load(column); // now with more columns
  } catch (error) {
    if (error.name === "AbortError") return; // a newer request is under way
    column.answer = null;
    say(column.note, error.message, true);
  }
  column.root.setAttribute("aria-busy", "false");
  columns.forEach(draw);
  compare();
}

async function recommend(body, signal) {
  try {
    return await post("/v1/recommend", body, signal);
  } catch (error) {
    // another generation's catalogue may lack the columns that this one's items have
    if (!(error instanceof Refused) || !error.message.startsWith("body.fields")) throw error;
    return post("/v1/recommend", { ...body, fields: ["title"] }, signal);
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

function itemRow(item, place, share) {
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
    item.reasons.length ? make("p", { class: "reason" }, ...joined(item.reasons, " · ")) : null,
    item.explanation ? why(item.explanation) : null);
}

function why(explanation) {
  const { components, history, words } = explanation;
  const carried = [...history].sort((one, other) => Math.abs(other.score) - Math.abs(one.score)).slice(0, MOST_PARTS);
  return make("details", {}, make("summary", {}, "The score in parts"),
    make("h3", {}, "By scorer"), parts(components.map((one) => [SCORERS[one.name] ?? one.name, one.score])),
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
