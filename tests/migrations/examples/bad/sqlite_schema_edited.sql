-- rejected: backfill
-- rejected: pragma
-- database: sqlite
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = '';
