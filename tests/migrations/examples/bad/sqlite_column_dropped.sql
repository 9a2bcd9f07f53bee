-- rejected: rewrite
-- database: sqlite
ALTER TABLE orders DROP COLUMN note;
