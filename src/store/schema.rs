// @generated automatically by Diesel CLI.

diesel::table! {
    events (order_id, version) {
        order_id -> Uuid,
        version -> Int4,
        position -> Int8,
        seq -> Int8,
        occurred_at -> Timestamptz,
        data -> Json,
        data_bytes -> Int4,
        traceparent -> Nullable<Text>,
    }
}

diesel::table! {
    feed (id) {
        id -> Bool,
        xid_offset -> Int8,
        floor_position -> Nullable<Int8>,
        floor_seq -> Nullable<Int8>,
        floor_order_id -> Nullable<Uuid>,
        floor_version -> Nullable<Int4>,
        floor_occurred_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    idempotency_keys (key) {
        key -> Text,
        order_id -> Uuid,
        request_hash -> Bytea,
        hash_version -> Int2,
        document -> Json,
        created_at -> Timestamptz,
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
        json_bytes -> Int4,
    }
}

diesel::allow_tables_to_appear_in_same_query!(events, feed, idempotency_keys, orders,);
