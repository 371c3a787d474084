// The filter: rows of field, operator and value, and the JSON that they write. Either may be edited.

import { isList, typeOf } from "./catalogue.js";
import { button, find, make, say } from "./dom.js";

const OPERATORS = { eq: "is", ne: "is not", gte: "at least", lte: "at most", gt: "above", lt: "below", contains: "contains", in: "one of", not_in: "none of", exists: "exists" };
const [rows, json, mode] = ["#conditions", "#filter-json", "#filter-mode"].map((id) => find(id));
let current = null; // what is asked for
let changed = () => {};

export const filter = () => current;

/** Build the first state; `onchange` is called whenever the filter has become another one. */
export function startFilter(onchange) {
  changed = onchange;
  find("#add-condition").onclick = () => addRow().querySelector("input").focus();
  mode.onchange = fromRows;
  json.oninput = fromJson;
}

function addRow(condition = { field: "", operator: "", value: "" }) {
  const field = make("input", { value: condition.field, placeholder: "field", label: "Field" });
  field.setAttribute("list", "fields");
  const options = Object.entries(OPERATORS).map(([name, text]) => make("option", { value: name }, text));
  const operator = make("select", { label: "Operator" }, ...options);
  operator.value = condition.operator || "eq";
  const value = make("input", { value: condition.value, placeholder: "value", label: "Value" });
  const row = make("li", {}, field, operator, value);
  row.append(button("×", () => { row.remove(); fromRows(); find("#add-condition").focus(); }, "quiet small", "Remove this condition"));
  field.onchange = () => {
    // nothing equals a list; what a list of values is asked for is a member
    if (!condition.operator && isList(field.value)) operator.value = "contains";
    fromRows();
  };
  operator.onchange = value.oninput = fromRows;
  rows.append(row);
  return row;
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

function fromRows() {
  const conditions = [];
  for (const row of rows.children) {
    const [field, operator, value] = [...row.querySelectorAll("input, select")].map((input) => input.value);
    if (field.trim() && (value.trim() || operator === "exists")) conditions.push({ field: field.trim(), [operator]: parsed(field.trim(), operator, value) });
  }
  const next = conditions.length > 1 ? { [mode.value]: conditions } : (conditions[0] ?? null);
  json.value = next ? JSON.stringify(next, null, 1) : "";
  take(next);
}

function fromJson() {
  let next = null;
  try {
    next = json.value.trim() ? JSON.parse(json.value) : null;
    if (next !== null && (typeof next !== "object" || Array.isArray(next))) throw new SyntaxError("a filter is an object");
  } catch (error) {
    return say(find("#filter-error"), `This is no filter yet: ${error.message}`);
  }
  const conditions = asRows(next);
  rows.replaceChildren();
  conditions?.forEach(addRow);
  find("#filter-note").hidden = conditions !== null;
  find("#add-condition").disabled = conditions === null;
  take(next);
}

/** The rows that say the same as a filter, or null where rows cannot. */
function asRows(wanted) {
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
  if (many) mode.value = many;
  return conditions;
}

function take(next) {
  say(find("#filter-error"), "");
  if (JSON.stringify(next) === JSON.stringify(current)) return;
  current = next;
  changed();
}
