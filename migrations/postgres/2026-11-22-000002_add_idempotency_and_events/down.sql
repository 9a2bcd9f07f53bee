DROP TABLE feed;
DROP TABLE events;
DROP INDEX orders_idempotency_key;
ALTER TABLE orders DROP COLUMN request_hash, DROP COLUMN idempotency_key;
DROP DOMAIN IF EXISTS request_hash, idempotency_key;
