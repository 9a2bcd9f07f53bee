//! The feed of events, under concurrent writers, restarts and slow readers.

mod completeness;
mod held_back;
mod streams;

/// The data of an event, as an SQL literal: an order.
const EVENT_DATA: &str = r#"'{"id":"0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071",
    "items":[{"product_id":"p","quantity":1,"unit_amount":null}],"product_id":"p","quantity":1,"currency":null,
    "total_amount":null,"external_id":null,"status":"pending","customer_id":null,"metadata":{},"version":1,
    "created_at":"2026-11-22T00:00:00.000000Z","updated_at":"2026-11-22T00:00:00.000000Z"}'"#;
