DROP TABLE archived_orders;
DROP TABLE feed_floors;
DROP TABLE feed;
DROP TABLE events;
DROP TABLE idempotency_keys;
DROP TABLE order_items;
DROP TABLE orders;
