-- refused: transaction
-- refused: transaction-nesting
SET LOCAL lock_timeout = '1s';
COMMIT;
