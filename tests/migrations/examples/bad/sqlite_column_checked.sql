-- rejected: rewrite
-- database: sqlite
ALTER TABLE orders ADD COLUMN note TEXT CHECK (note <> '');
