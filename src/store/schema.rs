// @generated automatically by Diesel CLI.

diesel::table! {
    events (order_id, version) {
        order_id -> Uuid,
        version -> Int4,
        position -> Int8,
        seq -> Int8,
        occurred_at -> Timestamptz,
        data -> Json,
        traceparent -> Nullable<Text>,
    }
}

diesel::table! {
    feed (id) {
        id -> Bool,
        xid_offset -> Int8,
    }
}

diesel::table! {
    orders (id) {
        id -> Uuid,
        product_id -> Text,
        quantity -> Int4,
        status -> Text,
        customer_id -> Nullable<Text>,
        metadata -> Jsonb,
        version -> Int4,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        idempotency_key -> Nullable<Text>,
        request_hash -> Nullable<Bytea>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(events, feed, orders,);
