// What this service can be asked: its OpenAPI document, read once, so that the page offers no more and no less.

import { get } from "./api.js";

const LISTS = "/v1/lists/";
let paths = {}, schemas = {};

/** Read the document; where it cannot be read, the page asks what every version of the service answers. */
export async function readService() {
  const document = await get("/docs.json").catch(() => null);
  paths = document?.paths ?? {};
  schemas = document?.components?.schemas ?? {};
}

export const knows = (path) => path in paths;
export const listPaths = () => Object.keys(paths).filter((path) => path.startsWith(LISTS)).sort();

/** A route's body, as JSON Schema; undefined where nothing is known of it. */
export const bodyOf = (path) => resolved(paths[path]?.post?.requestBody?.content?.["application/json"]?.schema);

/** The kinds of a field's values: its schema without references, and without null. */
export function kindOf(schema) {
  const kinds = (schema.anyOf ?? [schema]).map(resolved).filter((kind) => kind.type !== "null");
  return { ...schema, ...kinds[0] };
}

/** The part of a body that a route takes. */
export function taken(path, body) {
  const properties = bodyOf(path)?.properties;
  return properties ? Object.fromEntries(Object.entries(body).filter(([name]) => name in properties)) : body;
}

const resolved = (schema) => (schema?.$ref ? schemas[schema.$ref.split("/").pop()] : schema);
