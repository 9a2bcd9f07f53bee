// @generated automatically by Diesel CLI.

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
    }
}
