//! The forms in which JSON can write an integer, for quantities and amounts.

use serde_json::{Value, json};

use super::{pointers, post_text};
use crate::support::database::Database;
use crate::support::orders::order_path;
use crate::support::server::Server;

crate::on_both!(
    an_integer_may_be_written_in_every_form_of_json,
    numbers_that_are_no_integer_in_range_are_rejected
);

/// Both forms of a body with this quantity and unit amount, as text, with the pointer to their line.
fn bodies(quantity: &str, unit_amount: &str) -> [(String, &'static str); 2] {
    let line = format!(r#""product_id":"a","quantity":{quantity},"unit_amount":{unit_amount}"#);
    [
        (
            format!(r#"{{"items":[{{{line}}}],"currency":"EUR"}}"#),
            "/items/0",
        ),
        (format!(r#"{{{line},"currency":"EUR"}}"#), ""),
    ]
}

async fn an_integer_may_be_written_in_every_form_of_json(database: Database) {
    let server = Server::start(&database, &[]).await;
    for (quantity, amount, expected) in [
        ("3.0", "1e3", (3, 1000_i64)),
        ("1e3", "3.0", (1000, 3)),
        ("1E+6", "0.25e2", (1_000_000, 25)),
        ("30e-1", "-0.0", (3, 0)),
        ("1", "-0", (1, 0)),
        ("1", "1e12", (1, 1_000_000_000_000)),
        ("1.000", "1000000000000.0", (1, 1_000_000_000_000)),
    ] {
        for (body, _) in bodies(quantity, amount) {
            let response = post_text(&server, &body).await;
            assert_eq!(response.status(), 201, "{body} {response:?}");
            let order: Value = response.json();
            let line =
                json!({"product_id": "a", "quantity": expected.0, "unit_amount": expected.1});
            assert_eq!(order["items"], json!([line]), "{body}");
            // Responses have one form of each number.
            let text = server.get(&order_path(&order)).await.text();
            let sent = format!(
                r#""quantity":{},"unit_amount":{}}}"#,
                expected.0, expected.1
            );
            assert!(text.contains(&sent), "{text}");
        }
    }
}

async fn numbers_that_are_no_integer_in_range_are_rejected(database: Database) {
    let server = Server::start(&database, &[]).await;
    let digits = "9".repeat(400);
    for number in [
        "1.5",
        "1e-1",
        "1e13",
        "1e300",
        "1e400",
        "-1e400",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "340282366920938463463374607431768211456",
        &digits,
        "true",
        "\"1\"",
        "[1]",
        "{}",
    ] {
        for (body, line) in bodies(number, "1") {
            let found = pointers(post_text(&server, &body).await);
            assert_eq!(found, [format!("{line}/quantity")], "{number}");
        }
        for (body, line) in bodies("1", number) {
            let found = pointers(post_text(&server, &body).await);
            assert_eq!(found, [format!("{line}/unit_amount")], "{number}");
        }
    }
    // Not numbers of JSON at all (RFC 8259, section 6).
    for number in ["01", "+1", "1.", ".5", "0x10", "NaN", "Infinity", "1_000"] {
        for (body, _) in bodies("1", number) {
            assert_eq!(post_text(&server, &body).await.status(), 400, "{number}");
        }
    }
    assert_eq!(database.count("orders").await, 0);
}
