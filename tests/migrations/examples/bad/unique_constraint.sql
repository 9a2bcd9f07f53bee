-- refused: constraint-missing-not-valid
-- refused: disallowed-unique-constraint
SET LOCAL lock_timeout = '1s';
ALTER TABLE orders ADD CONSTRAINT one UNIQUE (note);
