-- rejected: lock-timeout
-- rejected: require-lock-timeout
ALTER TABLE orders ADD COLUMN note text;
