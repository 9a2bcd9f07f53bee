// @generated automatically by Diesel CLI.

diesel::table! {
    events (seq) {
        seq -> BigInt,
        order_id -> Binary,
        version -> Integer,
        occurred_at -> BigInt,
        data -> Text,
        traceparent -> Nullable<Text>,
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
        idempotency_key -> Nullable<Text>,
        request_hash -> Nullable<Binary>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(events, orders,);
