// Elements from text. What the service says is only ever set as text, so a title with markup in it stays a title; and
// it is shown as it is written: each text stands isolated (`bdi`), so that its direction moves nothing beside it.

export const find = (selector, within = document) => within.querySelector(selector);

/** Make an element; `properties` are set on it, `children` are nodes or texts. */
export function make(name, properties = {}, ...children) {
  const { class: classes, data = {}, label, ...rest } = properties;
  const element = Object.assign(document.createElement(name), rest);
  if (classes) element.className = classes;
  if (label) element.setAttribute("aria-label", visible(label));
  Object.assign(element.dataset, data);
  element.append(...asNodes(children));
  return element;
}

export const button = (text, onclick, classes = "quiet small", label = "") =>
  make("button", { type: "button", class: classes, onclick, label }, text);

/** Show texts and nodes, or hide the element where there is nothing. */
export function say(element, content, bad = false) {
  element.replaceChildren(...asNodes([content].flat()));
  element.classList.toggle("bad", bad && element.hasChildNodes());
}

const asNodes = (children) =>
  children.filter((child) => child !== null && child !== undefined && child !== "").map((child) => (child instanceof Node ? child : visible(child)));

/** A text of others' among our own: isolated, and cut where it is long. */
export const quoted = (text) => make("bdi", {}, shortened(text));

/** Several of them with something between. */
export const joined = (texts, between) => texts.flatMap((text, place) => (place ? [between, quoted(text)] : [quoted(text)]));

const LONGEST = 200; // characters of a text that are shown
const MOST_READ = 4_000; // of a text, of which accents and the like take most
const MOST_MARKS = 4; // accents on one character; more of them grow over the lines above and below
// What has no form of its own, but moves or hides what has: controls, line ends, directions, what joins and separates.
const UNSEEN = String.raw`[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0]`;
const JOINERS = "\u200c\u200d"; // between two characters they spell words and emoji
const [EACH_UNSEEN, FORM, MARKS] = [new RegExp(UNSEEN, "gu"), new RegExp(`^(?!${UNSEEN})\\S$`, "u"), new RegExp(`(\\p{M}{${MOST_MARKS}})\\p{M}+`, "gu")];

/** A text with everything in it to be seen: U+202E is written out, and a heap of accents ends. */
export function visible(text) {
  const written = (found, place, whole) => {
    const joins = JOINERS.includes(found) && [whole[place - 1], whole[place + 1]].every((one) => FORM.test(one ?? ""));
    return joins ? found : `[U+${found.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}]`;
  };
  return String(text).replace(EACH_UNSEEN, written).replace(MARKS, "$1…");
}

const shortened = (text) => {
  const characters = [...visible(String(text).slice(0, MOST_READ))];
  return characters.length > LONGEST ? `${characters.slice(0, LONGEST).join("")}…` : characters.join("");
};

/** A value of an item as a reader would write it, cut where it is long. */
export function readable(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return shortened(value.map(readable).filter(Boolean).join(", "));
  return shortened(typeof value === "object" ? JSON.stringify(value) : String(value));
}

export const decimals = (number) => (Math.abs(number) >= 100 ? number.toFixed(0) : number.toFixed(2)).replace("-", "−");
export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
