-- rejected: adding-field-with-default
SET LOCAL lock_timeout = '1s';
ALTER TABLE orders ADD COLUMN token uuid DEFAULT gen_random_uuid();
