// Filters: rows of field, operator and value, and where there is room for it the JSON that they write. Either may be edited.

import { isList, typeOf } from "./catalogue.js";
import { button, find, make, say } from "./dom.js";

const OPERATORS = { eq: "is", ne: "is not", gte: "at least", lte: "at most", gt: "above", lt: "below", contains: "contains", in: "one of", not_in: "none of", exists: "exists" };

/** An editor in a place with `.conditions`, `.mode`, `.add`, and perhaps `.json`; `onchange` is called whenever its `value` has become another. */
export class FilterEditor {
  value = null; // what is asked for

  constructor(root, onchange) {
    const within = (selector) => find(selector, root);
    this.onchange = onchange;
    [this.rows, this.mode, this.adding] = [".conditions", ".mode", ".add"].map(within);
    [this.json, this.tooMuch, this.error] = [".json", ".too-much", ".error"].map(within);
    this.adding.onclick = () => find("input", this.add()).focus();
    this.mode.onchange = () => this.fromRows();
    if (this.json) this.json.oninput = () => this.fromJson();
  }

  add(condition = { field: "", operator: "", value: "" }) {
    const field = make("input", { value: condition.field, placeholder: "field", label: "Field" });
    field.setAttribute("list", "fields");
    const options = Object.entries(OPERATORS).map(([name, text]) => make("option", { value: name }, text));
    const operator = make("select", { label: "Operator" }, ...options);
    operator.value = condition.operator || "eq";
    const value = make("input", { value: condition.value, placeholder: "value", label: "Value" });
    const row = make("li", {}, field, operator, value);
    row.append(button("×", () => { row.remove(); this.fromRows(); this.adding.focus(); }, "quiet small", "Remove this condition"));
    field.onchange = () => {
      // nothing equals a list; what a list of values is asked for is a member
      if (!condition.operator && isList(field.value)) operator.value = "contains";
      this.fromRows();
    };
    operator.onchange = value.oninput = () => this.fromRows();
    this.rows.append(row);
    return row;
  }

  fromRows() {
    const conditions = [];
    for (const row of this.rows.children) {
      const [field, operator, value] = [...row.querySelectorAll("input, select")].map((input) => input.value);
      if (field.trim() && (value.trim() || operator === "exists")) conditions.push({ field: field.trim(), [operator]: parsed(field.trim(), operator, value) });
    }
    const next = conditions.length > 1 ? { [this.mode.value]: conditions } : (conditions[0] ?? null);
    if (this.json) this.json.value = next ? JSON.stringify(next, null, 1) : "";
    this.take(next);
  }

  fromJson() {
    let next = null;
    try {
      next = this.json.value.trim() ? JSON.parse(this.json.value) : null;
      if (next !== null && (typeof next !== "object" || Array.isArray(next))) throw new SyntaxError("a filter is an object");
    } catch (error) {
      return say(this.error, `This is no filter yet: ${error.message}`);
    }
    const conditions = this.asRows(next);
    this.rows.replaceChildren();
    conditions?.forEach((one) => this.add(one));
    this.tooMuch.hidden = conditions !== null;
    this.adding.disabled = conditions === null;
    this.take(next);
  }

  /** The rows that say the same as a filter, or null where rows cannot. */
  asRows(wanted) {
    if (wanted === null) return [];
    const many = ["all", "any"].find((name) => Array.isArray(wanted[name]) && Object.keys(wanted).length === 1);
    const conditions = [];
    for (const one of many ? wanted[many] : [wanted]) {
      const [operator, ...others] = Object.keys(one ?? {}).filter((name) => name !== "field");
      if (typeof one?.field !== "string" || others.length || !(operator in OPERATORS)) return null;
      const value = one[operator];
      const text = Array.isArray(value) ? value.join(", ") : String(value);
      if (JSON.stringify(parsed(one.field, operator, text)) !== JSON.stringify(value)) return null;
      conditions.push({ field: one.field, operator, value: text });
    }
    if (many) this.mode.value = many;
    return conditions;
  }

  take(next) {
    if (this.error) say(this.error, "");
    if (JSON.stringify(next) === JSON.stringify(this.value)) return;
    this.value = next;
    this.onchange();
  }
}

function parsed(field, operator, text) {
  if (operator === "exists") return text.trim().toLowerCase() !== "false";
  const one = (part) => {
    const type = typeOf(field), number = part.trim() !== "" && !Number.isNaN(Number(part));
    if (number && (type === "number" || type === undefined)) return Number(part);
    return type === "boolean" ? part.trim().toLowerCase() === "true" : part.trim();
  };
  return ["in", "not_in"].includes(operator) ? text.split(",").map(one) : one(text);
}

let main = null; // the one that both lists and the search have

export const filter = () => main?.value ?? null;

/** Build the first state; `onchange` is called whenever the filter has become another one. */
export function startFilter(onchange) {
  main = new FilterEditor(find("#filter"), onchange);
}
