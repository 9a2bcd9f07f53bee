-- The same tables as on PostgreSQL. SQLite has no uuid, jsonb or timestamptz:
-- ids are 16 bytes (in the order of UUIDv7), metadata is JSON text, times are microseconds since 1970.
CREATE TABLE orders (
    tenant TEXT NOT NULL CHECK (length(tenant) BETWEEN 1 AND 64),
    id BLOB NOT NULL CHECK (length(id) = 16),
    status TEXT NOT NULL CHECK (status IN ('pending', 'confirmed', 'shipped', 'delivered', 'cancelled')),
    customer_id TEXT CHECK (length(customer_id) BETWEEN 1 AND 128),
    external_id TEXT CHECK (length(external_id) BETWEEN 1 AND 128),
    currency TEXT CHECK (length(currency) = 3),
    total_amount BIGINT CHECK (total_amount BETWEEN 0 AND 9007199254740991),
    metadata TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 1),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    -- Length in bytes of the order as JSON: a page ends at a number of bytes.
    json_bytes INTEGER NOT NULL CHECK (json_bytes >= 2),
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
-- Each filter of a list, newest first, walks one index. A filter without a status merges one walk for each
-- status.
CREATE INDEX orders_status ON orders (tenant, status, id);
CREATE INDEX orders_customer_id ON orders (tenant, customer_id, status, id) WHERE customer_id IS NOT NULL;

CREATE UNIQUE INDEX orders_external_id ON orders (tenant, external_id) WHERE external_id IS NOT NULL;

-- The lines of an order, from 1 on without a gap. The status is that of the order, or NULL if an earlier line has the
-- same product.
CREATE TABLE order_items (
    tenant TEXT NOT NULL CHECK (length(tenant) BETWEEN 1 AND 64),
    order_id BLOB NOT NULL CHECK (length(order_id) = 16),
    line INTEGER NOT NULL CHECK (line BETWEEN 1 AND 100),
    product_id TEXT NOT NULL CHECK (length(product_id) BETWEEN 1 AND 128),
    quantity INTEGER NOT NULL CHECK (quantity BETWEEN 1 AND 1000000),
    unit_amount BIGINT CHECK (unit_amount BETWEEN -1000000000000 AND 1000000000000),
    status TEXT CHECK (status IN ('pending', 'confirmed', 'shipped', 'delivered', 'cancelled')),
    PRIMARY KEY (tenant, order_id, line)
) WITHOUT ROWID;
CREATE INDEX order_items_product_id ON order_items (tenant, product_id, status, order_id) WHERE status IS NOT NULL;

-- A retried request finds its order by the SHA-256 of its key. The other hash distinguishes a retry from another
-- request.
CREATE TABLE idempotency_keys (
    tenant TEXT NOT NULL CHECK (length(tenant) BETWEEN 1 AND 64),
    key_hash BLOB NOT NULL CHECK (length(key_hash) = 32),
    order_id BLOB NOT NULL CHECK (length(order_id) = 16),
    request_hash BLOB NOT NULL CHECK (length(request_hash) = 32),
    -- The method by which request_hash is computed (src/api/idempotency.rs).
    hash_version INTEGER NOT NULL,
    -- The order as it was created, which a replay sends.
    document TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, key_hash)
) WITHOUT ROWID;
CREATE UNIQUE INDEX idempotency_keys_order_id ON idempotency_keys (tenant, order_id);

-- One row for each version of each order. SQLite has one writer at a time, so seq increases in the order of
-- the commits.
CREATE TABLE events (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL CHECK (length(tenant) BETWEEN 1 AND 64),
    order_id BLOB NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 1),
    event_type TEXT NOT NULL CHECK (event_type IN ('created', 'updated', 'imported', 'archived', 'erased')),
    occurred_at BIGINT NOT NULL,
    -- When it was written. Retention removes events by this time.
    recorded_at BIGINT NOT NULL,
    data TEXT NOT NULL,
    -- Length of data in bytes, as orders.json_bytes.
    data_bytes INTEGER NOT NULL CHECK (data_bytes >= 2),
    traceparent TEXT,
    -- Who made the change (CloudEvents auth context extension). authid is NULL for a caller without credentials.
    authtype TEXT NOT NULL CHECK (length(authtype) BETWEEN 1 AND 32),
    authid TEXT CHECK (length(authid) >= 1)
);
CREATE UNIQUE INDEX events_of_order ON events (tenant, order_id, version);
-- The feed of a tenant.
CREATE UNIQUE INDEX events_feed ON events (tenant, seq);

-- One row: the key that encrypts cursors, as on PostgreSQL.
CREATE TABLE feed (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    cursor_key BLOB NOT NULL CHECK (length(cursor_key) = 32) DEFAULT (randomblob(32))
);
INSERT INTO feed (id) VALUES (1);

-- The floor of each tenant, as on PostgreSQL: the last event that retention has removed.
CREATE TABLE feed_floors (
    tenant TEXT NOT NULL PRIMARY KEY CHECK (length(tenant) BETWEEN 1 AND 64),
    seq BIGINT NOT NULL,
    order_id BLOB NOT NULL CHECK (length(order_id) = 16),
    version INTEGER NOT NULL CHECK (version >= 1),
    occurred_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX feed_floors_seq ON feed_floors (seq);

-- Orders that were archived and removed, as on PostgreSQL.
CREATE TABLE archived_orders (
    tenant TEXT NOT NULL CHECK (length(tenant) BETWEEN 1 AND 64),
    order_id BLOB NOT NULL CHECK (length(order_id) = 16),
    customer_id TEXT CHECK (length(customer_id) BETWEEN 1 AND 128),
    version INTEGER NOT NULL CHECK (version >= 1),
    archived_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, order_id)
) WITHOUT ROWID;
CREATE INDEX archived_orders_customer_id ON archived_orders (tenant, customer_id, order_id)
    WHERE customer_id IS NOT NULL;
CREATE INDEX archived_orders_archived_at ON archived_orders (archived_at);

-- One row for each request to erase the data of a customer, as on PostgreSQL. The customer and the pseudonym are NULL
-- when the erasure is done.
CREATE TABLE erasures (
    tenant TEXT NOT NULL CHECK (length(tenant) BETWEEN 1 AND 64),
    id BLOB NOT NULL CHECK (length(id) = 16),
    customer_id TEXT CHECK (length(customer_id) BETWEEN 1 AND 128),
    pseudonym TEXT CHECK (length(pseudonym) BETWEEN 1 AND 128),
    authtype TEXT NOT NULL CHECK (length(authtype) BETWEEN 1 AND 32),
    authid TEXT CHECK (length(authid) >= 1),
    requested_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    -- The process that executes it, until that time.
    lease BLOB CHECK (length(lease) = 16),
    leased_until BIGINT NOT NULL DEFAULT 0,
    -- What was erased so far.
    orders BIGINT NOT NULL DEFAULT 0,
    archived_orders BIGINT NOT NULL DEFAULT 0,
    events BIGINT NOT NULL DEFAULT 0,
    idempotency_keys BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id),
    CHECK ((finished_at IS NULL) = (customer_id IS NOT NULL)),
    CHECK ((customer_id IS NULL) = (pseudonym IS NULL))
) WITHOUT ROWID;
CREATE UNIQUE INDEX erasures_customer_id ON erasures (tenant, customer_id) WHERE customer_id IS NOT NULL;
CREATE INDEX erasures_unfinished ON erasures (requested_at, id) WHERE finished_at IS NULL;

-- Orders whose row is erased, and whose earlier events and replay document are not yet.
CREATE TABLE erasure_orders (
    tenant TEXT NOT NULL CHECK (length(tenant) BETWEEN 1 AND 64),
    erasure_id BLOB NOT NULL CHECK (length(erasure_id) = 16),
    order_id BLOB NOT NULL CHECK (length(order_id) = 16),
    version INTEGER NOT NULL CHECK (version >= 1),
    redacted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, erasure_id, order_id)
) WITHOUT ROWID;
CREATE INDEX erasure_orders_order_id ON erasure_orders (tenant, order_id);
