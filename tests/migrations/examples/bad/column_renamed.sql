-- rejected: renaming-column
SET LOCAL lock_timeout = '1s';
ALTER TABLE orders RENAME COLUMN note TO remark;
