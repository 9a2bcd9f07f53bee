-- rejected: backfill
SET LOCAL lock_timeout = '1s';
INSERT INTO notes (id)
SELECT id FROM orders;
