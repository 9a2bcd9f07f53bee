-- rejected: transaction
-- rejected: transaction-nesting
SET LOCAL lock_timeout = '1s';
COMMIT;
