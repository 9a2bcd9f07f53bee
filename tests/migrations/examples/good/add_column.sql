SET LOCAL lock_timeout = '1s';
ALTER TABLE orders ADD COLUMN note text;
ALTER TABLE orders ADD COLUMN seen timestamptz DEFAULT now();
