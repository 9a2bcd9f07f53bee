DROP TABLE erasure_orders;
DROP TABLE erasures;
DROP TABLE archived_orders;
DROP TABLE feed_floors;
DROP TABLE feed;
DROP TABLE events;
DROP TABLE idempotency_keys;
DROP TABLE order_items;
DROP TABLE orders;
DROP DOMAIN auth_id, auth_type, event_type, sha256_hash, json_length, order_version, order_metadata, order_status,
    order_currency, order_total, order_unit_amount, order_line, order_quantity, order_label;
