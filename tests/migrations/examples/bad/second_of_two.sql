-- rejected: backfill
SET LOCAL lock_timeout = '1s';
ALTER TABLE orders ADD COLUMN note text;
-- migration
SET LOCAL lock_timeout = '1s';
DELETE FROM orders;
