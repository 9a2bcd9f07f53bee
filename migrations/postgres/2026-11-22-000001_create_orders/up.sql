-- The limits are those of src/domain; here they are the last line of defence.
CREATE TABLE orders (
    -- UUIDv7: newest first is this key backwards, so the plain list needs no index of its own.
    id uuid PRIMARY KEY,
    product_id text NOT NULL CHECK (char_length(product_id) BETWEEN 1 AND 128),
    quantity integer NOT NULL CHECK (quantity BETWEEN 1 AND 1000000),
    status text NOT NULL CHECK (status IN ('pending', 'confirmed', 'shipped', 'delivered', 'cancelled')),
    customer_id text CHECK (char_length(customer_id) BETWEEN 1 AND 128),
    metadata jsonb NOT NULL CHECK (jsonb_typeof(metadata) = 'object'),
    version integer NOT NULL CHECK (version >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
