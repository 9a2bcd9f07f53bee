// Uses the client that openapi-typescript and openapi-fetch generate from openapi.json: creates orders
// alone and in a batch, in both forms, and updates and lists them, on the server that SERVER names.
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

const basket: NewOrder = {
  items: [
    { product_id: "typescript", quantity: 2, unit_amount: 1499 },
    { product_id: "discount", quantity: 1, unit_amount: -550 },
  ],
  currency: "EUR",
  external_id: "typescript-basket",
};
const placed = await client.POST("/api/v1/orders", { body: basket });
assert(placed.data, JSON.stringify(placed.error));
const { product_id, quantity, total_amount, items } = placed.data;
assert.deepEqual([product_id, quantity, total_amount], [null, null, 2448]);
assert.deepEqual(items, basket.items);

const replaced = await client.PATCH(order, {
  params: { path: { id: placed.data.id } },
  body: { items: [{ product_id: "typescript", quantity: 1, unit_amount: 1 }] },
});
assert.deepEqual([replaced.data?.product_id, replaced.data?.total_amount], ["typescript", 1]);
const both = await client.GET("/api/v1/orders", { params: { query: { product_id: "typescript" } } });
assert.deepEqual(both.data, [replaced.data, cleared.data]);

const invalid = await client.POST("/api/v1/orders", { body: { items: [{ product_id: "typescript", quantity: 0 }] } });
assert.equal(invalid.error?.errors?.[0]?.pointer, "/items/0/quantity");

const taken = await client.POST("/api/v1/orders", {
  body: { product_id: "typescript", quantity: 1, external_id: "typescript-basket" },
});
assert.equal(taken.error?.type, "urn:problem:order-service:external-id-taken");
assert.equal(taken.error?.order_id, placed.data.id);

const batch = await client.POST("/api/v1/orders/batch", {
  body: { orders: [{ product_id: "typescript", quantity: 1, idempotency_key: "typescript-2" }, { items: [] }] },
});
const [first, second] = batch.data?.results ?? [];
assert(first?.order, JSON.stringify(batch));
assert.equal(second?.problem?.errors?.[0]?.pointer, "/orders/1/items");

const found = await client.GET("/api/v1/orders", {
  params: {
    query: {
      product_id: "typescript",
      status: ["pending", "confirmed"],
      created_from: created.data.created_at,
      order: "asc",
    },
  },
});
assert.deepEqual(found.data, [cleared.data, replaced.data, first.order]);
const chosen = await client.GET("/api/v1/orders", { params: { query: { id: [first.order.id, id] } } });
assert.deepEqual(chosen.data, [first.order, cleared.data]);
