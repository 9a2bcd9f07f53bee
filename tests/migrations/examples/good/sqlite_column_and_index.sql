-- database: sqlite
ALTER TABLE orders ADD COLUMN note TEXT;
CREATE INDEX orders_note ON orders (note);
CREATE TABLE notes (id BLOB PRIMARY KEY, note TEXT NOT NULL CHECK (note <> ''));
