\set n :n + 1
WITH input AS MATERIALIZED (
    SELECT id, now() AS at, ('{"id":"' || id || '","items":[{"product_id":"sku-1","quantity":3,"unit_amount": null}],"product_id":"sku-1","quantity":3,"currency": null,"total_amount": null,"external_id": null,"status":"pending","customer_id":"customer-1","metadata":{"colour":"blue"},"version":1,"created_at":"2026-11-22T06:19:00.123456Z","updated_at":"2026-11-22T06:19:00.123456Z"}')::json AS document
    FROM (VALUES ((lpad(to_hex(:client_id::int + 1), 8, '0') || lpad(to_hex(:n::bigint), 24, '0'))::uuid)) AS new (id)
), keyed AS (
    INSERT INTO same_rows.idempotency_keys (tenant, key_hash, order_id, request_hash, hash_version, document, created_at)
    SELECT 'default', sha256(uuid_send(gen_random_uuid())), id, '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 1, document, at FROM input
    ON CONFLICT DO NOTHING
), listed AS (
    INSERT INTO same_rows.order_items (tenant, order_id, line, product_id, quantity, status)
    SELECT 'default', id, 1, 'sku-1', 3, 'pending' FROM input
), logged AS (
    INSERT INTO same_rows.events (tenant, order_id, version, event_type, position, occurred_at, data, data_bytes, authtype)
    SELECT 'default', id, 1, 'created', pg_current_xact_id()::text::bigint, at, document, 376, 'unauthenticated' FROM input
)
INSERT INTO same_rows.orders (tenant, id, status, customer_id, metadata, version, created_at, updated_at, json_bytes)
SELECT 'default', id, 'pending', 'customer-1', '{"colour": "blue"}', 1, at, at, 376 FROM input;
