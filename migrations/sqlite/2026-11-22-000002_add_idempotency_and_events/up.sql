-- A retried request finds its order by its key. The hash tells a retry from another request.
ALTER TABLE orders ADD COLUMN idempotency_key TEXT CHECK (length(idempotency_key) BETWEEN 1 AND 255);
ALTER TABLE orders ADD COLUMN request_hash BLOB
    CHECK (coalesce(length(request_hash), 32) = 32 AND (idempotency_key IS NULL) = (request_hash IS NULL));
CREATE UNIQUE INDEX orders_idempotency_key ON orders (idempotency_key) WHERE idempotency_key IS NOT NULL;

-- One row for each version of each order. SQLite has one writer at a time, so seq grows in the
-- order of the commits.
CREATE TABLE events (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    order_id BLOB NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 1),
    occurred_at BIGINT NOT NULL,
    data TEXT NOT NULL,
    traceparent TEXT
);
CREATE UNIQUE INDEX events_of_order ON events (order_id, version);

-- Orders from before this migration get the event of the version that they have.
INSERT INTO events (order_id, version, occurred_at, data)
SELECT id, version, updated_at, json_object(
    'id', lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4)
        || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)),
    'product_id', product_id, 'quantity', quantity, 'status', status, 'customer_id', customer_id,
    'metadata', json(metadata), 'version', version,
    'created_at', strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch')
        || printf('.%06dZ', created_at % 1000000),
    'updated_at', strftime('%Y-%m-%dT%H:%M:%S', updated_at / 1000000, 'unixepoch')
        || printf('.%06dZ', updated_at % 1000000))
FROM orders ORDER BY id;
