DROP TABLE orders;
DROP DOMAIN order_version, order_metadata, order_status, order_quantity, order_label;
