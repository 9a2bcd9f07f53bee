-- rejected: lock-timeout
SET LOCAL lock_timeout = '1min';
ALTER TABLE orders ADD COLUMN note text;
