// @generated automatically by Diesel CLI.

diesel::table! {
    events (seq) {
        seq -> BigInt,
        order_id -> Binary,
        version -> Integer,
        occurred_at -> BigInt,
        data -> Text,
        data_bytes -> Integer,
        traceparent -> Nullable<Text>,
    }
}

diesel::table! {
    feed (id) {
        id -> BigInt,
        floor_seq -> Nullable<BigInt>,
        floor_order_id -> Nullable<Binary>,
        floor_version -> Nullable<Integer>,
        floor_occurred_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    idempotency_keys (key) {
        key -> Text,
        order_id -> Binary,
        request_hash -> Binary,
        hash_version -> Integer,
        document -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    orders (id) {
        id -> Binary,
        product_id -> Text,
        quantity -> Integer,
        status -> Text,
        customer_id -> Nullable<Text>,
        metadata -> Text,
        version -> Integer,
        created_at -> BigInt,
        updated_at -> BigInt,
        json_bytes -> Integer,
    }
}

diesel::allow_tables_to_appear_in_same_query!(events, feed, idempotency_keys, orders,);
