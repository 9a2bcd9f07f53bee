-- rejected: rewrite
SET LOCAL lock_timeout = '1s';
ALTER TABLE orders
    ADD COLUMN idempotency_key idempotency_key,
    ADD COLUMN note text;
