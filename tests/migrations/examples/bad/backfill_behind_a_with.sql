-- rejected: backfill
SET LOCAL lock_timeout = '1s';
WITH old AS (SELECT id FROM orders) DELETE FROM orders USING old WHERE orders.id = old.id;
