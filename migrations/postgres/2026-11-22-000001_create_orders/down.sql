DROP TABLE orders;
DROP DOMAIN IF EXISTS order_version, order_metadata, order_status, order_quantity, order_label;
