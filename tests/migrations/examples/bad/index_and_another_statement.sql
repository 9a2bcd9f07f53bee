-- rejected: no-transaction
-- no transaction
DROP INDEX CONCURRENTLY IF EXISTS orders_note;
CREATE INDEX CONCURRENTLY orders_note ON orders (note);
