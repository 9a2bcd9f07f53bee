-- rejected: backfill
SET LOCAL lock_timeout = '1s';
UPDATE orders SET note = '';
