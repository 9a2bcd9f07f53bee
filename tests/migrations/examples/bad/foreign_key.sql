-- rejected: adding-foreign-key-constraint
-- rejected: constraint-missing-not-valid
SET LOCAL lock_timeout = '1s';
ALTER TABLE events ADD CONSTRAINT of_order FOREIGN KEY (order_id) REFERENCES orders (id);
