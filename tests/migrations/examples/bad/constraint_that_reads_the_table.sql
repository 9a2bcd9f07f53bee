-- rejected: constraint-missing-not-valid
SET LOCAL lock_timeout = '1s';
ALTER TABLE orders ADD CONSTRAINT short CHECK (char_length(note) < 10);
