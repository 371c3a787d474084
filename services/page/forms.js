// Labelled inputs by the type of what they hold, and what stands in them as JSON.

import { make, readable, visible } from "./dom.js";

let made = 0;

/**
 * Make an input with its label; `read()` gives the value, undefined where it is empty.
 * `type`: "text", "whole", "number", "flag" or "list" (of texts, between commas); `choices` are offered where given.
 */
export function entry({ name, type, title = name, hint = "", value = null, choices = null, least = "", most = "", suggest = "" }, onchange = () => {}) {
  const id = `entry-${++made}`, offered = type === "flag" ? ["true", "false"] : choices;
  const element = offered
    ? make("select", { id }, make("option", { value: "" }, "–"), ...offered.map((one) => make("option", { value: one }, { true: "yes", false: "no" }[one] ?? one)))
    : make("input", { id, type: isNumber(type) ? "number" : "text", step: type === "whole" ? "1" : "any", min: least, max: most, placeholder: hint, spellcheck: false });
  if (suggest) element.setAttribute("list", suggest);
  element.value = value === null ? "" : readable(value);
  element.onchange = onchange;
  return { name, element: make("div", { class: "entry" }, make("label", { htmlFor: id }, visible(title)), element), input: element, read: () => parsed(type, element.value) };
}

const isNumber = (type) => type === "whole" || type === "number";

function parsed(type, text) {
  if (text.trim() === "") return undefined;
  if (isNumber(type)) return Number(text);
  if (type === "flag") return text === "true";
  return type === "list" ? text.split(",").map((one) => one.trim()).filter(Boolean) : text.trim();
}

/** What stands in several of them, by name, without what is empty. */
export const entered = (entries) => Object.fromEntries(entries.map((one) => [one.name, one.read()]).filter(([, value]) => value !== undefined));

/** The type of a column as the service says it in words: "a whole number", "true or false". */
export const typeIn = (words) => ({ "a whole number": "whole", "a number": "number", "true or false": "flag" })[words] ?? (words.startsWith("a list") ? "list" : "text");
