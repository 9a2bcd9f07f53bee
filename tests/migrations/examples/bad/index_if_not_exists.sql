-- rejected: if-not-exists
-- no transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_note ON orders (note);
