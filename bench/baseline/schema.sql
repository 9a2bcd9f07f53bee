-- Only what the baseline's endpoints need: primary keys, no other index, no checks. One row for an order, and one for its
-- event.
CREATE TABLE orders (
    id uuid PRIMARY KEY,
    product_id text NOT NULL,
    quantity integer NOT NULL,
    status text NOT NULL,
    customer_id text,
    metadata jsonb NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE TABLE events (
    order_id uuid NOT NULL,
    version integer NOT NULL,
    occurred_at timestamptz NOT NULL,
    data json NOT NULL,
    PRIMARY KEY (order_id, version)
);

-- The rows that the service writes for an order of one line with an idempotency key, with the same columns. Again only
-- primary keys: the further indexes of the service come on top. Both reads return orders from here, with their lines.
CREATE SCHEMA same_rows;
CREATE TABLE same_rows.orders (
    tenant text NOT NULL,
    id uuid NOT NULL,
    status text NOT NULL,
    customer_id text,
    external_id text,
    currency text,
    total_amount bigint,
    metadata jsonb NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    json_bytes integer NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE TABLE same_rows.order_items (
    tenant text NOT NULL,
    order_id uuid NOT NULL,
    line smallint NOT NULL,
    product_id text NOT NULL,
    quantity integer NOT NULL,
    unit_amount bigint,
    status text,
    PRIMARY KEY (tenant, order_id, line)
);
CREATE TABLE same_rows.events (
    tenant text NOT NULL,
    order_id uuid NOT NULL,
    version integer NOT NULL,
    position bigint NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    event_type text NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    data json NOT NULL,
    data_bytes integer NOT NULL,
    traceparent text,
    authtype text NOT NULL,
    authid text,
    PRIMARY KEY (tenant, order_id, version)
);
CREATE TABLE same_rows.idempotency_keys (
    tenant text NOT NULL,
    key_hash bytea NOT NULL,
    order_id uuid NOT NULL,
    request_hash bytea NOT NULL,
    hash_version smallint NOT NULL,
    document json NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, key_hash)
);
