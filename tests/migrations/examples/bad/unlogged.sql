-- rejected: rewrite
SET LOCAL lock_timeout = '1s';
ALTER TABLE orders SET UNLOGGED;
