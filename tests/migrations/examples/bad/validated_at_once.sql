-- rejected: constraint-missing-not-valid
-- rejected: validate-later
SET LOCAL lock_timeout = '1s';
ALTER TABLE orders ADD CONSTRAINT short CHECK (char_length(note) < 10) NOT VALID;
ALTER TABLE orders VALIDATE CONSTRAINT short;
