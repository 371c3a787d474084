// The service's routes. The key lives in this tab's session storage and travels in a header, never in an address.

const STORED = "recsys-key";
export const key = {
  get: () => sessionStorage.getItem(STORED) ?? "",
  set: (value) => (value ? sessionStorage.setItem(STORED, value) : sessionStorage.removeItem(STORED)),
};

/** What the service answered instead of what was asked: its problem+json, or that it cannot be reached. */
export class Refused extends Error {
  constructor(status, detail, wait = Infinity) {
    super(detail);
    this.status = status;
    this.wait = wait; // seconds until it may be asked again
  }
}

const TRIES = 4; // of what is told to come again shortly, since nothing was done: a generation is being loaded, say
const SHORTLY = 5; // seconds

/** Ask a route; return its JSON. Throws `Refused`, or an AbortError where `signal` ended it. */
export async function ask(method, path, body, signal, wishes = {}) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await askOnce(method, path, body, signal, wishes);
    } catch (error) {
      if (!(error.status === 503 && error.wait <= SHORTLY && attempt < TRIES)) throw error;
      await new Promise((later) => setTimeout(later, error.wait * 1000));
      signal?.throwIfAborted();
    }
  }
}

async function askOnce(method, path, body, signal, wishes) {
  const headers = { ...wishes };
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
  const detail = (problem.detail || problem.title || `Status ${response.status}.`) + (wait ? ` Try again in ${wait} s.` : "");
  throw new Refused(response.status, detail, wait ? Number(wait) : undefined);
}

export const get = (path, signal) => ask("GET", path, undefined, signal);
export const post = (path, body, signal) => ask("POST", path, body, signal);
/** As `post`, of what may take long: it is answered at once, and its answer says where to ask what became of it. */
export const begin = (path, body) => ask("POST", path, body, undefined, { Prefer: "respond-async" });
export const put = (path, body, signal) => ask("PUT", path, body, signal);
