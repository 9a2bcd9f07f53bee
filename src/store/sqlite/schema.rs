// @generated automatically by Diesel CLI.

diesel::table! {
    events (seq) {
        seq -> BigInt,
        tenant -> Text,
        order_id -> Binary,
        version -> Integer,
        occurred_at -> BigInt,
        data -> Text,
        data_bytes -> Integer,
        traceparent -> Nullable<Text>,
        authtype -> Text,
        authid -> Nullable<Text>,
    }
}

diesel::table! {
    feed (id) {
        id -> BigInt,
        cursor_key -> Binary,
    }
}

diesel::table! {
    feed_floors (tenant) {
        tenant -> Text,
        seq -> BigInt,
        order_id -> Binary,
        version -> Integer,
        occurred_at -> BigInt,
    }
}

diesel::table! {
    idempotency_keys (tenant, key) {
        tenant -> Text,
        key -> Text,
        order_id -> Binary,
        request_hash -> Binary,
        hash_version -> Integer,
        document -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    orders (tenant, id) {
        tenant -> Text,
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

diesel::allow_tables_to_appear_in_same_query!(events, feed, feed_floors, idempotency_keys, orders,);
