-- Each filter of the list, newest first, is a walk along one index.
CREATE INDEX orders_status ON orders (status, id);
CREATE INDEX orders_product_id ON orders (product_id, id);
CREATE INDEX orders_customer_id ON orders (customer_id, id) WHERE customer_id IS NOT NULL;
