-- rejected: require-concurrent-index-creation
SET LOCAL lock_timeout = '1s';
CREATE INDEX orders_note ON orders (note);
