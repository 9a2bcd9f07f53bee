// @generated automatically by Diesel CLI.

diesel::table! {
    archived_orders (tenant, order_id) {
        tenant -> Text,
        order_id -> Binary,
        customer_id -> Nullable<Text>,
        version -> Integer,
        archived_at -> BigInt,
    }
}

diesel::table! {
    erasure_orders (tenant, erasure_id, order_id) {
        tenant -> Text,
        erasure_id -> Binary,
        order_id -> Binary,
        version -> Integer,
        redacted -> Integer,
    }
}

diesel::table! {
    erasures (tenant, id) {
        tenant -> Text,
        id -> Binary,
        customer_id -> Nullable<Text>,
        pseudonym -> Nullable<Text>,
        authtype -> Text,
        authid -> Nullable<Text>,
        requested_at -> BigInt,
        started_at -> Nullable<BigInt>,
        finished_at -> Nullable<BigInt>,
        lease -> Nullable<Binary>,
        leased_until -> BigInt,
        orders -> BigInt,
        archived_orders -> BigInt,
        events -> BigInt,
        idempotency_keys -> BigInt,
    }
}

diesel::table! {
    events (seq) {
        seq -> BigInt,
        tenant -> Text,
        order_id -> Binary,
        version -> Integer,
        event_type -> Text,
        occurred_at -> BigInt,
        recorded_at -> BigInt,
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
    idempotency_keys (tenant, key_hash) {
        tenant -> Text,
        key_hash -> Binary,
        order_id -> Binary,
        request_hash -> Binary,
        hash_version -> Integer,
        document -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    order_items (tenant, order_id, line) {
        tenant -> Text,
        order_id -> Binary,
        line -> Integer,
        product_id -> Text,
        quantity -> Integer,
        unit_amount -> Nullable<BigInt>,
        status -> Nullable<Text>,
    }
}

diesel::table! {
    orders (tenant, id) {
        tenant -> Text,
        id -> Binary,
        status -> Text,
        customer_id -> Nullable<Text>,
        external_id -> Nullable<Text>,
        currency -> Nullable<Text>,
        total_amount -> Nullable<BigInt>,
        metadata -> Text,
        version -> Integer,
        created_at -> BigInt,
        updated_at -> BigInt,
        json_bytes -> Integer,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    archived_orders,
    erasure_orders,
    erasures,
    events,
    feed,
    feed_floors,
    idempotency_keys,
    order_items,
    orders,
);
