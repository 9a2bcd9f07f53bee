-- The limits are those of src/domain; here they are the last line of defence. They are domains, which a
-- session reads once: PostgreSQL reads the constraints of a table anew for every statement, and that took
-- 40 % of a statement that places one order.
CREATE DOMAIN order_label AS text CHECK (char_length(VALUE) BETWEEN 1 AND 128);
CREATE DOMAIN order_quantity AS integer CHECK (VALUE BETWEEN 1 AND 1000000);
CREATE DOMAIN order_status AS text
    CHECK (VALUE IN ('pending', 'confirmed', 'shipped', 'delivered', 'cancelled'));
CREATE DOMAIN order_metadata AS jsonb CHECK (jsonb_typeof(VALUE) = 'object');
CREATE DOMAIN order_version AS integer CHECK (VALUE >= 1);

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
    updated_at timestamptz NOT NULL
-- Orders change a few times. With room on their page, a change of what no index covers stays there and
-- writes no index (heap-only tuples).
) WITH (fillfactor = 85);
