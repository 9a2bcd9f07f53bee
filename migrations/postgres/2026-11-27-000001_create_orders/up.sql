-- The limits are those of src/domain; here they are the last line of defence. They are domains, which a
-- session reads once: PostgreSQL reads the constraints of a table anew for every statement, and that took
-- 40 % of a statement that places one order.
--
-- Texts compare byte by byte: nothing sorts by them for people, it is cheaper than by the rules of a language,
-- and indexes outlive a change of those rules with a new version of the operating system.
CREATE DOMAIN order_label AS text COLLATE "C" CHECK (char_length(VALUE) BETWEEN 1 AND 128);
CREATE DOMAIN order_quantity AS integer CHECK (VALUE BETWEEN 1 AND 1000000);
CREATE DOMAIN order_status AS text COLLATE "C"
    CHECK (VALUE IN ('pending', 'confirmed', 'shipped', 'delivered', 'cancelled'));
CREATE DOMAIN order_metadata AS jsonb CHECK (jsonb_typeof(VALUE) = 'object');
CREATE DOMAIN order_version AS integer CHECK (VALUE >= 1);
CREATE DOMAIN json_length AS integer CHECK (VALUE >= 2);
CREATE DOMAIN idempotency_key AS text COLLATE "C" CHECK (char_length(VALUE) BETWEEN 1 AND 255);
CREATE DOMAIN request_hash AS bytea CHECK (octet_length(VALUE) = 32);

CREATE TABLE orders (
    -- UUIDv7: newest first is this key backwards, so the plain list needs no index of its own.
    id uuid PRIMARY KEY,
    product_id order_label NOT NULL,
    quantity order_quantity NOT NULL,
    status order_status NOT NULL,
    customer_id order_label,
    metadata order_metadata NOT NULL,
    version order_version NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- Length in bytes of the order as JSON: a page ends at a number of bytes, and this tells which rows
    -- fit without reading their metadata.
    json_bytes json_length NOT NULL
-- Orders change a few times. With room on their page, a change of what no index covers stays there and
-- writes no index (heap-only tuples).
) WITH (fillfactor = 85);
-- Each filter of the list, newest first, is a walk along one index. Without a status, it is a merge of one
-- walk for each status.
CREATE INDEX orders_status ON orders (status, id);
CREATE INDEX orders_product_id ON orders (product_id, status, id);
CREATE INDEX orders_customer_id ON orders (customer_id, status, id) WHERE customer_id IS NOT NULL;

-- A retried request finds its order by its key. The hash tells a retry from another request.
CREATE TABLE idempotency_keys (
    key idempotency_key PRIMARY KEY,
    order_id uuid NOT NULL,
    request_hash request_hash NOT NULL,
    -- How request_hash is computed (src/api/idempotency.rs).
    hash_version smallint NOT NULL,
    -- The order as it was created, which is what a replay sends. json keeps the text as it was written.
    document json NOT NULL,
    created_at timestamptz NOT NULL
);

-- One row for each version of each order. No foreign key: both rows are written by one statement, and the
-- check would cost as much as the insert.
CREATE TABLE events (
    order_id uuid NOT NULL,
    version order_version NOT NULL,
    -- Where in the feed: the writing transaction's id plus feed.xid_offset, then seq. Transactions
    -- commit in any order, so readers stop below the oldest that still runs.
    position bigint NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    occurred_at timestamptz NOT NULL,
    data json NOT NULL,
    -- Length in bytes of data, as orders.json_bytes.
    data_bytes json_length NOT NULL,
    traceparent text,
    PRIMARY KEY (order_id, version)
);
CREATE UNIQUE INDEX events_feed ON events (position, seq);

-- One row. A database restored from a dump counts its transactions from the beginning again; the
-- offset keeps positions growing (order-service migrate sets it). Without the row no event has a position,
-- and every write fails.
CREATE TABLE feed (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    xid_offset bigint NOT NULL,
    -- The floor: the last event that retention has removed, by position, then seq. Events up to and
    -- including it may be gone, those behind it are complete. NULL while nothing was removed. Whoever removes
    -- events raises it in the same transaction, and no further than readers may read: a reader that stands
    -- exactly here has missed nothing, one before it may have (src/store/cursor.rs).
    floor_position bigint,
    floor_seq bigint,
    floor_order_id uuid,
    floor_version order_version,
    floor_occurred_at timestamptz,
    CHECK (num_nulls(floor_position, floor_seq, floor_order_id, floor_version, floor_occurred_at) IN (0, 5))
);
INSERT INTO feed (xid_offset) VALUES (0);
