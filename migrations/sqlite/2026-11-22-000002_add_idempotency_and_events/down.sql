DROP TABLE events;
DROP INDEX orders_idempotency_key;
ALTER TABLE orders DROP COLUMN request_hash;
ALTER TABLE orders DROP COLUMN idempotency_key;
