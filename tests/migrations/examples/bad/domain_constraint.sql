-- rejected: ban-alter-domain-with-add-constraint
SET LOCAL lock_timeout = '1s';
ALTER DOMAIN order_label ADD CONSTRAINT short CHECK (char_length(VALUE) < 10);
