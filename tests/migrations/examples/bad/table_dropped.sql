-- rejected: ban-drop-table
SET LOCAL lock_timeout = '1s';
DROP TABLE orders;
