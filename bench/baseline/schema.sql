-- Only what the baseline's endpoints need: primary keys, no other index, no checks.
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
