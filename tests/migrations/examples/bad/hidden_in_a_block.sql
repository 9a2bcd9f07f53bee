-- rejected: do-block
SET LOCAL lock_timeout = '1s';
DO $$ BEGIN UPDATE orders SET note = ''; END $$;
