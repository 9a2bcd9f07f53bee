-- rejected: no-transaction
-- no transaction
ALTER TABLE orders ADD COLUMN note text;
