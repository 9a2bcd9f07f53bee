-- lint-ignore set-not-null: the migration before has validated orders_note_set
SET LOCAL lock_timeout = '1s';
ALTER TABLE orders ALTER COLUMN note SET NOT NULL;
-- Old code has not used it since 1.4.
-- squawk-ignore ban-drop-column
ALTER TABLE orders DROP COLUMN seen;
