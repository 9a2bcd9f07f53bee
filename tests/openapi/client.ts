// Uses the client that openapi-typescript and openapi-fetch generate from openapi.json: creates, updates and
// lists an order on the server that SERVER names.
import assert from "node:assert/strict";

import createClient from "openapi-fetch";

import type { components, paths } from "./api.js";

type NewOrder = components["schemas"]["NewOrder"];
type OrderPatch = components["schemas"]["OrderPatch"];

const server = process.env["SERVER"];
assert(server, "SERVER must be a URL");
const client = createClient<paths>({ baseUrl: server });
const order = "/api/v1/orders/{id}";

const body: NewOrder = { product_id: "typescript", quantity: 3, metadata: { colour: "blue", note: "gift" } };
const created = await client.POST("/api/v1/orders", {
  body,
  params: { header: { "Idempotency-Key": "typescript-1" } },
});
assert(created.data, JSON.stringify(created.error));
assert.equal(created.response.status, 201);
assert.equal(created.data.status, "pending");
const id: string = created.data.id;

const patch: OrderPatch = { status: "confirmed", metadata: { note: null } };
const updated = await client.PATCH(order, {
  body: patch,
  params: { path: { id }, header: { "If-Match": '"1"' } },
});
assert.deepEqual(updated.data?.metadata, { colour: "blue" });
assert.equal(updated.data?.status, "confirmed");

const cleared = await client.PATCH(order, { params: { path: { id } }, body: { metadata: null } });
assert.deepEqual(cleared.data?.metadata, {});

const list = await client.GET("/api/v1/orders", { params: { query: { product_id: "typescript", limit: 10 } } });
assert.deepEqual(list.data, [cleared.data]);

const stale = await client.PATCH(order, {
  params: { path: { id }, header: { "If-Match": '"1"' } },
  body: { status: "shipped" },
});
assert.equal(stale.error?.type, "urn:problem:order-service:precondition-failed");
