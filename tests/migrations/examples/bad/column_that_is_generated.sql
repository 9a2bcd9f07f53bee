-- rejected: adding-field-with-default
SET LOCAL lock_timeout = '1s';
ALTER TABLE orders ADD COLUMN loud text GENERATED ALWAYS AS (upper(note)) STORED;
