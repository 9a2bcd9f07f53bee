-- rejected: backfill
-- database: sqlite
UPDATE orders SET note = '';
