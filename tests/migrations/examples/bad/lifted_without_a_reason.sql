-- rejected: set-not-null
-- lint-ignore set-not-null:
SET LOCAL lock_timeout = '1s';
ALTER TABLE orders ALTER COLUMN note SET NOT NULL;
