// @generated automatically by Diesel CLI.

diesel::table! {
    archived_orders (tenant, order_id) {
        tenant -> Text,
        order_id -> Uuid,
        customer_id -> Nullable<Text>,
        version -> Int4,
        archived_at -> Timestamptz,
    }
}

diesel::table! {
    erasure_orders (tenant, erasure_id, order_id) {
        tenant -> Text,
        erasure_id -> Uuid,
        order_id -> Uuid,
        version -> Int4,
        redacted -> Int4,
    }
}

diesel::table! {
    erasures (tenant, id) {
        tenant -> Text,
        id -> Uuid,
        customer_id -> Nullable<Text>,
        pseudonym -> Nullable<Text>,
        authtype -> Text,
        authid -> Nullable<Text>,
        requested_at -> Timestamptz,
        started_at -> Nullable<Timestamptz>,
        finished_at -> Nullable<Timestamptz>,
        lease -> Nullable<Uuid>,
        leased_until -> Timestamptz,
        orders -> Int8,
        archived_orders -> Int8,
        events -> Int8,
        idempotency_keys -> Int8,
    }
}

diesel::table! {
    events (tenant, order_id, version, recorded_at) {
        tenant -> Text,
        order_id -> Uuid,
        version -> Int4,
        position -> Int8,
        seq -> Int8,
        event_type -> Text,
        occurred_at -> Timestamptz,
        recorded_at -> Timestamptz,
        data -> Json,
        data_bytes -> Int4,
        traceparent -> Nullable<Text>,
        authtype -> Text,
        authid -> Nullable<Text>,
    }
}

diesel::table! {
    feed (id) {
        id -> Bool,
        xid_offset -> Int8,
        cursor_key -> Bytea,
    }
}

diesel::table! {
    feed_floors (tenant) {
        tenant -> Text,
        position -> Int8,
        seq -> Int8,
        order_id -> Uuid,
        version -> Int4,
        occurred_at -> Timestamptz,
    }
}

diesel::table! {
    idempotency_keys (tenant, key_hash) {
        tenant -> Text,
        key_hash -> Bytea,
        order_id -> Uuid,
        request_hash -> Bytea,
        hash_version -> Int2,
        document -> Json,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    order_items (tenant, order_id, line) {
        tenant -> Text,
        order_id -> Uuid,
        line -> Int2,
        product_id -> Text,
        quantity -> Int4,
        unit_amount -> Nullable<Int8>,
        status -> Nullable<Text>,
    }
}

diesel::table! {
    orders (tenant, id) {
        tenant -> Text,
        id -> Uuid,
        status -> Text,
        customer_id -> Nullable<Text>,
        external_id -> Nullable<Text>,
        currency -> Nullable<Text>,
        total_amount -> Nullable<Int8>,
        metadata -> Jsonb,
        version -> Int4,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        json_bytes -> Int4,
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
