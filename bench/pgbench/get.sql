\set n random(1, 10000)
SELECT id, product_id, quantity, status, customer_id, metadata, version, created_at, updated_at FROM orders WHERE id = (lpad(to_hex(0), 8, '0') || lpad(to_hex(:n::bigint), 24, '0'))::uuid;
