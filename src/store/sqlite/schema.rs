// @generated automatically by Diesel CLI.

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
    }
}
