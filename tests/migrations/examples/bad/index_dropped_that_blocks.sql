-- rejected: require-concurrent-index-deletion
SET LOCAL lock_timeout = '1s';
DROP INDEX orders_note;
