-- A comment; with a semicolon.
SET LOCAL lock_timeout TO '500ms';
ALTER TABLE orders ADD COLUMN note text; /* UPDATE orders; */
