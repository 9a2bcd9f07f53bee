SET LOCAL lock_timeout = '1s';
ALTER TABLE orders ADD COLUMN weight numeric(10, 2) DEFAULT 0 NOT NULL;
