SELECT id, product_id, quantity, status, customer_id, metadata, version, created_at, updated_at FROM orders ORDER BY id DESC LIMIT 100;
