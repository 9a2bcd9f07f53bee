-- rejected: ban-concurrent-index-creation-in-transaction
SET LOCAL lock_timeout = '1s';
CREATE INDEX CONCURRENTLY orders_note ON orders (note);
