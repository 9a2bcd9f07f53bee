-- The same table as on PostgreSQL. SQLite has no uuid, jsonb or timestamptz:
-- ids are 16 bytes (they sort as UUIDv7 do), metadata is JSON text, times are microseconds since 1970.
CREATE TABLE orders (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    product_id TEXT NOT NULL CHECK (length(product_id) BETWEEN 1 AND 128),
    quantity INTEGER NOT NULL CHECK (quantity BETWEEN 1 AND 1000000),
    status TEXT NOT NULL CHECK (status IN ('pending', 'confirmed', 'shipped', 'delivered', 'cancelled')),
    customer_id TEXT CHECK (length(customer_id) BETWEEN 1 AND 128),
    metadata TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 1),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) WITHOUT ROWID;
