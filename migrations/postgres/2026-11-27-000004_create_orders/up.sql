-- The limits are those of src/domain; here they are the last line of defence. They are domains, which a
-- session parses once. PostgreSQL parses the constraints of a table for every statement, which took 40 % of a
-- statement that creates one order.
--
-- Texts compare byte by byte. No user sees them sorted, comparisons by the rules of a language cost more, and
-- an index stays valid when a new version of the operating system changes those rules.
CREATE DOMAIN order_label AS text COLLATE "C" CHECK (char_length(VALUE) BETWEEN 1 AND 128);
CREATE DOMAIN order_quantity AS integer CHECK (VALUE BETWEEN 1 AND 1000000);
CREATE DOMAIN order_line AS smallint CHECK (VALUE BETWEEN 1 AND 100);
CREATE DOMAIN order_unit_amount AS bigint CHECK (VALUE BETWEEN -1000000000000 AND 1000000000000);
-- The maximum is 2^53 - 1.
CREATE DOMAIN order_total AS bigint CHECK (VALUE BETWEEN 0 AND 9007199254740991);
CREATE DOMAIN order_currency AS text COLLATE "C" CHECK (char_length(VALUE) = 3);
CREATE DOMAIN order_status AS text COLLATE "C"
    CHECK (VALUE IN ('pending', 'confirmed', 'shipped', 'delivered', 'cancelled'));
CREATE DOMAIN order_metadata AS jsonb CHECK (jsonb_typeof(VALUE) = 'object');
CREATE DOMAIN order_version AS integer CHECK (VALUE >= 1);
CREATE DOMAIN json_length AS integer CHECK (VALUE >= 2);
CREATE DOMAIN sha256_hash AS bytea CHECK (octet_length(VALUE) = 32);
CREATE DOMAIN event_type AS text COLLATE "C"
    CHECK (VALUE IN ('created', 'updated', 'imported', 'archived', 'erased'));
CREATE DOMAIN auth_type AS text COLLATE "C" CHECK (char_length(VALUE) BETWEEN 1 AND 32);
CREATE DOMAIN auth_id AS text COLLATE "C" CHECK (char_length(VALUE) >= 1);

-- Every key begins with the tenant. The type of the tenant is text and no domain, because Citus, which could
-- distribute the tables by it, finds no rows by a column of a domain. So its length needs a constraint. Keys and
-- events have none: the statement that writes one also writes the order of the same tenant.
CREATE TABLE orders (
    tenant text COLLATE "C" NOT NULL CHECK (octet_length(tenant) BETWEEN 1 AND 64),
    -- UUIDv7: newest first is the primary key in reverse, so the plain list needs no other index.
    id uuid NOT NULL,
    status order_status NOT NULL,
    customer_id order_label,
    -- The client's own reference.
    external_id order_label,
    -- The currency of all amounts (ISO 4217), and the sum of quantity times unit_amount over order_items, in its
    -- minor unit. Both are NULL for an order without amounts.
    currency order_currency,
    total_amount order_total,
    metadata order_metadata NOT NULL,
    version order_version NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- Length in bytes of the order as JSON. A page ends at a number of bytes, and this column determines
    -- which rows fit without reading their metadata.
    json_bytes json_length NOT NULL,
    PRIMARY KEY (tenant, id)
-- Orders change a few times. With free space on the page, an update of unindexed columns stays on the page
-- and writes no index (heap-only tuples).
) WITH (fillfactor = 85);
-- Each filter of a list, newest first, walks one index. A filter without a status merges one walk for each
-- status.
--
-- Orders have different ids, so entries of such an index are equal only if an update has moved an order to another
-- page. Before PostgreSQL splits a page of an index that is not declared unique, it compares all entries of the page
-- to merge equal ones (PostgreSQL manual, B-Tree Indexes, Deduplication). That search is 3 % of the instructions of
-- a create and finds none.
CREATE INDEX orders_customer_id ON orders (tenant, customer_id, status, id) WITH (deduplicate_items = off)
    WHERE customer_id IS NOT NULL;
-- The condition is always true. PostgreSQL uses a partial index only for a statement that repeats its condition,
-- so this index never serves a filter by product or customer, for which it would read all orders of a status.
CREATE INDEX orders_status ON orders (tenant, status, id) WITH (deduplicate_items = off)
    WHERE created_at > '-infinity';

-- Two orders of a tenant never have the same external id.
CREATE UNIQUE INDEX orders_external_id ON orders (tenant, external_id) WHERE external_id IS NOT NULL;

-- The lines of an order, from 1 on without a gap.
CREATE TABLE order_items (
    tenant text COLLATE "C" NOT NULL,
    order_id uuid NOT NULL,
    line order_line NOT NULL,
    product_id order_label NOT NULL,
    quantity order_quantity NOT NULL,
    -- In the minor unit of the order's currency; NULL if it has none.
    unit_amount order_unit_amount,
    -- The status of the order; NULL if an earlier line has the same product. So the index has one entry for each
    -- order and product.
    status order_status,
    PRIMARY KEY (tenant, order_id, line)
) WITH (fillfactor = 85);
-- The filter by product, as orders_customer_id.
CREATE INDEX order_items_product_id ON order_items (tenant, product_id, status, order_id)
    WITH (deduplicate_items = off) WHERE status IS NOT NULL;

-- A retried request finds its order by the SHA-256 of its key. Clients put references to persons into keys, and a
-- hash need not be erased. The other hash distinguishes a retry from another request.
CREATE TABLE idempotency_keys (
    tenant text COLLATE "C" NOT NULL,
    key_hash sha256_hash NOT NULL,
    order_id uuid NOT NULL,
    request_hash sha256_hash NOT NULL,
    -- The method by which request_hash is computed (src/api/idempotency.rs).
    hash_version smallint NOT NULL,
    -- The order as it was created, which a replay sends. The type json preserves the text.
    document json NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, key_hash)
);
-- An order has at most one key. Erasure and archiving find the key of an order, and retention the oldest keys: the
-- ids of orders are in the order of their creation.
CREATE UNIQUE INDEX idempotency_keys_order_id ON idempotency_keys (tenant, order_id);

-- The sequence is no identity column, because partitions have identity columns only since PostgreSQL 17.
CREATE SEQUENCE events_seq;

-- One row for each version of each order. No foreign key: one statement writes both rows, and the check would
-- cost as much as the insert.
--
-- Each month has a partition, so that retention removes a month without a scan and without dead rows
-- (order-service maintain). The month is that of the write by the clock of the database, not that of the change, so
-- that imported orders do not write into old partitions.
CREATE TABLE events (
    tenant text COLLATE "C" NOT NULL,
    order_id uuid NOT NULL,
    version order_version NOT NULL,
    -- The position in the feed: the writing transaction's id plus feed.xid_offset, then seq. Transactions
    -- commit in any order, so readers stop before the oldest running one.
    position bigint NOT NULL,
    seq bigint NOT NULL DEFAULT nextval('events_seq'),
    event_type event_type NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    data json NOT NULL,
    -- Length of data in bytes, as orders.json_bytes.
    data_bytes json_length NOT NULL,
    traceparent text,
    -- Who made the change (CloudEvents auth context extension). authid is NULL for a caller without credentials.
    authtype auth_type NOT NULL,
    authid auth_id,
    -- A unique index of a partitioned table contains the column of the partitions. That an order has each version once
    -- follows from the statements: they write a version only after the one before it (order-service audit checks it).
    PRIMARY KEY (tenant, order_id, version, recorded_at)
) PARTITION BY RANGE (recorded_at);
ALTER SEQUENCE events_seq OWNED BY events.seq;
-- The feed of a tenant. No two events have the same sequence.
CREATE INDEX events_feed ON events (tenant, position, seq) WITH (deduplicate_items = off);
-- The events of all tenants, for the reader that each process has, for the lag of the feed, and for the last
-- position, which every write compares with its own.
CREATE INDEX events_position ON events (position, seq) WITH (deduplicate_items = off);

-- Events of a month without a partition, so that a missing partition never stops a write.
CREATE TABLE events_default PARTITION OF events DEFAULT;
-- The partitions of this month and of the next three (UTC). Later ones are created by order-service maintain.
DO $$
DECLARE
    start timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
BEGIN
    FOR i IN 0..3 LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF events FOR VALUES FROM (%L) TO (%L)',
            'events_' || to_char(start, 'YYYY_MM'),
            start AT TIME ZONE 'UTC',
            (start + interval '1 month') AT TIME ZONE 'UTC');
        start := start + interval '1 month';
    END LOOP;
END
$$;

-- One row. A database restored from a dump counts its transactions from the beginning again; the offset
-- keeps positions increasing (order-service migrate sets it). Without the row no event has a position, and
-- every write fails.
CREATE TABLE feed (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    xid_offset bigint NOT NULL,
    -- The key that encrypts cursors (src/store/cursor.rs): the hash of 366 random bits. In the database, all
    -- processes share it, and it follows dumps and failovers.
    cursor_key bytea NOT NULL CHECK (octet_length(cursor_key) = 32)
        DEFAULT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
);
INSERT INTO feed (xid_offset) VALUES (0);

-- The floor of each tenant from which retention has removed events: the last event that it has removed, by
-- position, then seq. Events of the tenant up to and including it may be missing; those after it are complete.
-- The transaction that removes events raises the floor, and no further than readers may read: a reader whose
-- cursor is exactly here has missed nothing, one before it may have (src/store/cursor.rs).
CREATE TABLE feed_floors (
    tenant text COLLATE "C" PRIMARY KEY CHECK (octet_length(tenant) BETWEEN 1 AND 64),
    position bigint NOT NULL,
    seq bigint NOT NULL,
    order_id uuid NOT NULL,
    version order_version NOT NULL,
    occurred_at timestamptz NOT NULL
);
-- The highest floor. New events must come after it.
CREATE INDEX feed_floors_position ON feed_floors (position, seq);

-- Orders that were archived and removed, while their events may be stored. Erasure finds the events of a customer here,
-- and an import of the archive continues the versions.
CREATE TABLE archived_orders (
    tenant text COLLATE "C" NOT NULL,
    order_id uuid NOT NULL,
    customer_id order_label,
    -- The version of the event order.archived.
    version order_version NOT NULL,
    archived_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, order_id)
);
CREATE INDEX archived_orders_customer_id ON archived_orders (tenant, customer_id, order_id)
    WHERE customer_id IS NOT NULL;
CREATE INDEX archived_orders_archived_at ON archived_orders (archived_at);

-- One row for each request to erase the data of a customer. The processes of the service execute them in the background
-- (src/store/erasure/).
CREATE TABLE erasures (
    tenant text COLLATE "C" NOT NULL CHECK (octet_length(tenant) BETWEEN 1 AND 64),
    id uuid NOT NULL,
    -- The customer, and the text that replaces it. Both are NULL when the erasure is done, because together with the
    -- time they would show which customer a pseudonym stands for.
    customer_id order_label,
    pseudonym order_label,
    -- Who requested it, as in events.
    authtype auth_type NOT NULL,
    authid auth_id,
    requested_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    -- The process that executes it, until that time by the clock of the database. Each batch extends the lease.
    lease uuid,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    -- What was erased so far.
    orders bigint NOT NULL DEFAULT 0,
    archived_orders bigint NOT NULL DEFAULT 0,
    events bigint NOT NULL DEFAULT 0,
    idempotency_keys bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id),
    CHECK ((finished_at IS NULL) = (customer_id IS NOT NULL)),
    CHECK ((customer_id IS NULL) = (pseudonym IS NULL))
-- Each batch updates the row. With free space on the page, that writes no index.
) WITH (fillfactor = 50);
-- A customer has at most one unfinished erasure.
CREATE UNIQUE INDEX erasures_customer_id ON erasures (tenant, customer_id) WHERE customer_id IS NOT NULL;
-- The next erasure to execute, and the age of the oldest.
CREATE INDEX erasures_unfinished ON erasures (requested_at, id) WHERE finished_at IS NULL;

-- Orders whose row is erased, and whose earlier events and replay document are not yet.
CREATE TABLE erasure_orders (
    tenant text COLLATE "C" NOT NULL,
    erasure_id uuid NOT NULL,
    order_id uuid NOT NULL,
    -- The version of the event order.erased. Events before it are redacted.
    version order_version NOT NULL,
    -- The last version that is redacted.
    redacted integer NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, erasure_id, order_id)
);
-- Whether an order is in the worklist (order-service audit).
CREATE INDEX erasure_orders_order_id ON erasure_orders (tenant, order_id);

-- Columns with personal data have no statistics, which would contain some of their values. The statements do not need
-- them: each walks one index (docs/ARCHITECTURE.md).
ALTER TABLE orders ALTER COLUMN customer_id SET STATISTICS 0;
ALTER TABLE orders ALTER COLUMN external_id SET STATISTICS 0;
ALTER TABLE orders ALTER COLUMN metadata SET STATISTICS 0;
ALTER TABLE idempotency_keys ALTER COLUMN key_hash SET STATISTICS 0;
ALTER TABLE idempotency_keys ALTER COLUMN request_hash SET STATISTICS 0;
ALTER TABLE idempotency_keys ALTER COLUMN document SET STATISTICS 0;
ALTER TABLE events ALTER COLUMN data SET STATISTICS 0;
ALTER TABLE events ALTER COLUMN traceparent SET STATISTICS 0;
ALTER TABLE events ALTER COLUMN authid SET STATISTICS 0;
ALTER TABLE archived_orders ALTER COLUMN customer_id SET STATISTICS 0;
ALTER TABLE erasures ALTER COLUMN customer_id SET STATISTICS 0;
ALTER TABLE erasures ALTER COLUMN pseudonym SET STATISTICS 0;
ALTER TABLE erasures ALTER COLUMN authid SET STATISTICS 0;
