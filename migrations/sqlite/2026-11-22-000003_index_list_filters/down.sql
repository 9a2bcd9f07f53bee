DROP INDEX orders_customer_id;
DROP INDEX orders_product_id;
DROP INDEX orders_status;
