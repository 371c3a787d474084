// The service's routes. The key lives in this tab's session storage and travels in a header, never in an address.

const STORED = "recsys-key";
export const key = {
  get: () => sessionStorage.getItem(STORED) ?? "",
  set: (value) => (value ? sessionStorage.setItem(STORED, value) : sessionStorage.removeItem(STORED)),
};

/** What the service answered instead of what was asked: its problem+json, or that it cannot be reached. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** Ask a route; return its JSON. Throws `Refused`, or an AbortError where `signal` ended it. */
export async function ask(method, path, body, signal) {
  const headers = {};
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (method !== "GET") headers["Content-Type"] = "application/json"; // also without a body: no form of another page could say so
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The service cannot be reached. Is it running?");
  }
  if (response.ok) return (response.headers.get("content-type") ?? "").includes("json") ? response.json() : null;
  const problem = await response.json().catch(() => ({}));
  const wait = response.headers.get("retry-after");
  throw new Refused(response.status, (problem.detail || problem.title || `Status ${response.status}.`) + (wait ? ` Try again in ${wait} s.` : ""));
}

export const get = (path, signal) => ask("GET", path, undefined, signal);
export const post = (path, body, signal) => ask("POST", path, body, signal);
