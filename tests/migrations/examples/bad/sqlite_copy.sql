-- rejected: rewrite
-- rejected: compatibility
-- database: sqlite
CREATE TABLE new (id BLOB PRIMARY KEY);
INSERT INTO new SELECT id FROM orders;
DROP TABLE orders;
ALTER TABLE new RENAME TO orders;
