// Calls the service with a client made from its OpenAPI document alone; prints what came back as JSON.
import createClient from "openapi-fetch";
import type { components, operations, paths } from "./schema.js";

declare const process: { argv: string[] };
const [, , baseUrl, item, other] = process.argv;
const client = createClient<paths>({ baseUrl });
const json = { "Content-Type": "application/json" }; // wanted without keys, also where there is no body
const seen: Record<string, number> = {};

function took<A>(name: keyof operations, answer: { data?: A; error?: unknown; response: Response }): A {
  seen[name] = answer.response.status;
  if (answer.data === undefined) throw new Error(`${name}: ${JSON.stringify(answer.error)}`);
  return answer.data;
}

const list = took("recommend", await client.POST("/v1/recommend", { body: { user_id: "typescript" } }));
const best: components["schemas"]["RecommendedItem"] = list.items[0];
const fallback: string | null = list.fallback;
took("recommend_batch", await client.POST("/v1/recommend/batch", { body: { users: [{ user_id: "7" }, { history: [] }] } }));
took("rank", await client.POST("/v1/rank", { body: { history: [item], item_ids: [other] } }));
took("similar", await client.POST("/v1/similar", { body: { item_id: item, filter: { field: "year", gte: 1900 } } }));
took("search", await client.POST("/v1/search", { body: { query: "a film" } }));
took("embed", await client.POST("/v1/embed", { body: { texts: ["a film"] } }));
took("classify", await client.POST("/v1/classify", { body: { texts: ["a ticket"] } }));
const told = took("add_events", await client.POST("/v1/events", { body: { events: [{ user_id: "typescript", item_id: item }] } }));
const change = took(
  "put_item",
  await client.PUT("/v1/items/{item_id}", { params: { path: { item_id: "ts/1 ?" } }, body: { title: "New", year: 2026 } }),
);
took("item", await client.GET("/v1/items/{item_id}", { params: { path: { item_id: "ts/1 ?" } } }));
took("delete_item", await client.DELETE("/v1/items/{item_id}", { params: { path: { item_id: "ts/1 ?" } } }));
const person = took("user", await client.GET("/v1/users/{user_id}", { params: { path: { user_id: "typescript" }, query: { limit: 1 } } }));
const lineage = took("recommendation", await client.GET("/v1/recommendations/{rec_id}", { params: { path: { rec_id: list.rec_id } } }));
took("forget_user", await client.DELETE("/v1/users/{user_id}", { params: { path: { user_id: "typescript" } } }));
took("generations", await client.GET("/v1/generations"));
took("adapters", await client.GET("/v1/adapters"));
took("readyz", await client.GET("/readyz"));
took("livez", await client.GET("/livez", { parseAs: "text" }));
took("metrics", await client.GET("/metrics", { parseAs: "text" }));

const refused = await client.POST("/v1/recommend", { body: { user_id: "7", adapter: "nothing" } });
if (refused.error?.code !== "unknown-adapter") throw new Error(JSON.stringify(refused.error));
const back = await client.POST("/v1/rollback", { headers: json });
// @ts-expect-error a field that no request has
const body: components["schemas"]["RecommendRequest"] = { user_id: "7", diversty: 1 };
const misspelt = await client.POST("/v1/recommend", { body });
const [wrong] = misspelt.error?.errors ?? [];
// @ts-expect-error a code that no error has
const never: components["schemas"]["Problem"]["code"] = "nothing";

console.log(
  JSON.stringify({
    seen,
    best: best.item_id,
    fallback,
    accepted: told.accepted,
    version: change.version,
    history: person.history.map((event) => event.item_id),
    shown: lineage.items.map((one) => one.item_id),
    codes: [refused.error.code, back.error?.code, misspelt.error?.code, wrong?.pointer],
  }),
);
