-- rejected: lock
SET LOCAL lock_timeout = '1s';
LOCK TABLE orders;
