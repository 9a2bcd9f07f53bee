-- rejected: rewrite
-- rejected: syntax-error
SET LOCAL lock_timeout = '1s';
ALTER TABLE orders ADD COLUMN note text text text (;
