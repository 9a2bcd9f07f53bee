\set n :n + 1
INSERT INTO orders (id, product_id, quantity, status, customer_id, metadata, version, created_at, updated_at) VALUES ((lpad(to_hex(:client_id::int + 1), 8, '0') || lpad(to_hex(:n::bigint), 24, '0'))::uuid, 'sku-1', 3, 'pending', 'customer-1', '{"colour": "blue"}', 1, now(), now());
