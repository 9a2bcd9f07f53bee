-- The limits are those of src/domain; here they are the last line of defence. They are domains, which a
-- session parses once. PostgreSQL parses the constraints of a table for every statement, which took 40 % of a
-- statement that creates one order.
--
-- Texts compare byte by byte. No user sees them sorted, comparisons by the rules of a language cost more, and
-- an index stays valid when a new version of the operating system changes those rules.
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
    -- UUIDv7: newest first is this key in reverse, so the plain list needs no other index.
    id uuid PRIMARY KEY,
    product_id order_label NOT NULL,
    quantity order_quantity NOT NULL,
    status order_status NOT NULL,
    customer_id order_label,
    metadata order_metadata NOT NULL,
    version order_version NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- Length in bytes of the order as JSON. A page ends at a number of bytes, and this column determines
    -- which rows fit without reading their metadata.
    json_bytes json_length NOT NULL
-- Orders change a few times. With free space on the page, an update of unindexed columns stays on the page
-- and writes no index (heap-only tuples).
) WITH (fillfactor = 85);
-- Each filter of a list, newest first, walks one index. A filter without a status merges one walk for each
-- status.
CREATE INDEX orders_status ON orders (status, id);
CREATE INDEX orders_product_id ON orders (product_id, status, id);
CREATE INDEX orders_customer_id ON orders (customer_id, status, id) WHERE customer_id IS NOT NULL;

-- A retried request finds its order by its key. The hash distinguishes a retry from another request.
CREATE TABLE idempotency_keys (
    key idempotency_key PRIMARY KEY,
    order_id uuid NOT NULL,
    request_hash request_hash NOT NULL,
    -- The method by which request_hash is computed (src/api/idempotency.rs).
    hash_version smallint NOT NULL,
    -- The order as it was created, which a replay sends. The type json preserves the text.
    document json NOT NULL,
    created_at timestamptz NOT NULL
);

-- One row for each version of each order. No foreign key: one statement writes both rows, and the check would
-- cost as much as the insert.
CREATE TABLE events (
    order_id uuid NOT NULL,
    version order_version NOT NULL,
    -- The position in the feed: the writing transaction's id plus feed.xid_offset, then seq. Transactions
    -- commit in any order, so readers stop before the oldest running one.
    position bigint NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    occurred_at timestamptz NOT NULL,
    data json NOT NULL,
    -- Length of data in bytes, as orders.json_bytes.
    data_bytes json_length NOT NULL,
    traceparent text,
    PRIMARY KEY (order_id, version)
);
CREATE UNIQUE INDEX events_feed ON events (position, seq);

-- One row. A database restored from a dump counts its transactions from the beginning again; the offset
-- keeps positions increasing (order-service migrate sets it). Without the row no event has a position, and
-- every write fails.
CREATE TABLE feed (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    xid_offset bigint NOT NULL,
    -- The floor: the last event that retention has removed, by position, then seq. Events up to and
    -- including it may be missing; those after it are complete. NULL while nothing has been removed. The
    -- transaction that removes events raises the floor, and no further than readers may read: a reader
    -- whose cursor is exactly here has missed nothing, one before it may have (src/store/cursor.rs).
    floor_position bigint,
    floor_seq bigint,
    floor_order_id uuid,
    floor_version order_version,
    floor_occurred_at timestamptz,
    CHECK (num_nulls(floor_position, floor_seq, floor_order_id, floor_version, floor_occurred_at) IN (0, 5))
);
INSERT INTO feed (xid_offset) VALUES (0);
