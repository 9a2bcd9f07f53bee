-- rejected: attach-partition
SET LOCAL lock_timeout = '1s';
ALTER TABLE events ATTACH PARTITION old FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
