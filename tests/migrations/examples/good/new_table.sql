SET LOCAL lock_timeout = '1s';
CREATE DOMAIN label AS text CHECK (char_length(VALUE) <= 10);
CREATE TABLE notes (id uuid PRIMARY KEY, label label NOT NULL, CHECK (label <> ''));
CREATE INDEX notes_label ON notes (label);
INSERT INTO notes VALUES ('00000000-0000-0000-0000-000000000000', 'UPDATE orders; SELECT');
