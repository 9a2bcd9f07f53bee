-- rejected: constraint-missing-not-valid
-- rejected: disallowed-unique-constraint
SET LOCAL lock_timeout = '1s';
ALTER TABLE orders ADD CONSTRAINT one UNIQUE (note);
