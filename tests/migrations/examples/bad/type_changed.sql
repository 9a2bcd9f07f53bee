-- rejected: changing-column-type
SET LOCAL lock_timeout = '1s';
ALTER TABLE orders ALTER COLUMN note TYPE bytea USING note::bytea;
