-- rejected: adding-required-field
SET LOCAL lock_timeout = '1s';
ALTER TABLE orders ADD COLUMN note text NOT NULL;
