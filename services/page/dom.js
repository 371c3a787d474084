// Elements from text. What the service says is only ever set as text, so a title with markup in it stays a title.

export const find = (selector, within = document) => within.querySelector(selector);

/** Make an element; `properties` are set on it, `children` are nodes or texts. */
export function make(name, properties = {}, ...children) {
  const { class: classes, data = {}, label, ...rest } = properties;
  const element = Object.assign(document.createElement(name), rest);
  if (classes) element.className = classes;
  if (label) element.setAttribute("aria-label", label);
  Object.assign(element.dataset, data);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const button = (text, onclick, classes = "quiet small", label = "") =>
  make("button", { type: "button", class: classes, onclick, label }, text);

/** Show a text, or hide the element where there is none. */
export function say(element, text, bad = false) {
  element.textContent = text ?? "";
  element.classList.toggle("bad", bad && Boolean(text));
}

/** A value of an item as a reader would write it. */
export function readable(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(readable).filter(Boolean).join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export const decimals = (number) => (Math.abs(number) >= 100 ? number.toFixed(0) : number.toFixed(2)).replace("-", "−");
export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
