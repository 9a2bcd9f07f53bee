-- A retried request finds its order by its key. The hash tells a retry from another request.
CREATE DOMAIN idempotency_key AS text CHECK (char_length(VALUE) BETWEEN 1 AND 255);
CREATE DOMAIN request_hash AS bytea CHECK (octet_length(VALUE) = 32);
ALTER TABLE orders
    ADD COLUMN idempotency_key idempotency_key,
    ADD COLUMN request_hash request_hash,
    ADD CHECK ((idempotency_key IS NULL) = (request_hash IS NULL));
CREATE UNIQUE INDEX orders_idempotency_key ON orders (idempotency_key) WHERE idempotency_key IS NOT NULL;

-- One row for each version of each order. No foreign key: both rows are written by one statement,
-- orders are never deleted, and the check would cost as much as the insert.
CREATE TABLE events (
    order_id uuid NOT NULL,
    version order_version NOT NULL,
    -- Where in the feed: the writing transaction's id plus feed.xid_offset, then seq. Transactions
    -- commit in any order, so readers stop below the oldest that still runs.
    position bigint NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    occurred_at timestamptz NOT NULL,
    -- json keeps the text as it was written, so that it can be sent as it is.
    data json NOT NULL,
    traceparent text,
    PRIMARY KEY (order_id, version)
);
CREATE UNIQUE INDEX events_feed ON events (position, seq);

-- One row. A database restored from a dump counts its transactions from the beginning again; the
-- offset keeps positions growing (order-service migrate sets it).
CREATE TABLE feed (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    xid_offset bigint NOT NULL
);
INSERT INTO feed (xid_offset) VALUES (0);

-- Orders from before this migration get the event of the version that they have.
INSERT INTO events (order_id, version, position, occurred_at, data)
SELECT id, version, pg_current_xact_id()::text::bigint, updated_at, json_build_object(
    'id', id, 'product_id', product_id, 'quantity', quantity, 'status', status,
    'customer_id', customer_id, 'metadata', metadata, 'version', version,
    'created_at', to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'updated_at', to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
FROM orders ORDER BY id;
