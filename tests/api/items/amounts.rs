//! Unit amounts, totals and currencies.

use serde_json::{Value, json};

use super::{create, pointers};
use crate::support::database::Database;
use crate::support::orders::order_path;
use crate::support::server::Server;

crate::on_both!(
    a_total_is_from_zero_to_the_largest_integer_of_javascript,
    a_total_is_summed_without_overflow,
    unit_amounts_have_inclusive_limits,
    every_line_has_an_amount_or_none_has_and_the_currency_agrees,
    currencies_are_active_codes_in_upper_case_with_a_minor_unit,
);

const LARGEST_TOTAL: i64 = 9_007_199_254_740_991;
const LARGEST_AMOUNT: i64 = 1_000_000_000_000;
const LARGEST_QUANTITY: i64 = 1_000_000;

/// A body with a line for each pair of quantity and unit amount.
fn euros(lines: &[(i64, i64)]) -> Value {
    let line = |(quantity, amount)| json!({"product_id": "a", "quantity": quantity, "unit_amount": amount});
    let items: Vec<_> = lines.iter().copied().map(line).collect();
    json!({"items": items, "currency": "EUR"})
}

async fn a_total_is_from_zero_to_the_largest_integer_of_javascript(database: Database) {
    let server = Server::start(&database, &[]).await;
    let nearly = (9_007, LARGEST_AMOUNT);
    for (lines, total) in [
        (&[(1, 0)][..], 0),
        (&[(3, 5), (1, -15)], 0),
        (&[(1, -15), (3, 5)], 0),
        (&[(1, 1)], 1),
        (&[nearly, (1, 199_254_740_991)], LARGEST_TOTAL),
        (&[nearly, (1, 199_254_740_992), (1, -1)], LARGEST_TOTAL),
        // 2^53 - 1 = 6361 * 69431 * 20394401
        (&[(69_431, 6_361 * 20_394_401)], LARGEST_TOTAL),
    ] {
        let order = create(&server, &euros(lines)).await;
        assert_eq!(order["total_amount"], total, "{lines:?}");
        assert_eq!(server.get(&order_path(&order)).await.json::<Value>(), order);
    }
    for lines in [
        &[(1, -1)][..],
        &[(3, 5), (1, -16)],
        &[nearly, (1, 199_254_740_992)],
        &[(9_008, LARGEST_AMOUNT)],
    ] {
        assert_eq!(
            pointers(server.post(&euros(lines)).await),
            ["/items"],
            "{lines:?}"
        );
    }
    // In the short form, the amount of the only line determines the total.
    for (quantity, amount) in [(1, -1), (9_008, LARGEST_AMOUNT)] {
        let body = json!({"product_id": "a", "quantity": quantity, "unit_amount": amount, "currency": "EUR"});
        assert_eq!(
            pointers(server.post(&body).await),
            ["/unit_amount"],
            "{body}"
        );
    }
    assert_eq!(database.count("orders").await, 7);
}

async fn a_total_is_summed_without_overflow(database: Database) {
    let server = Server::start(&database, &[]).await;
    // One such line has 10^18, ten have more than 64 bits.
    let (plus, minus) = (
        (LARGEST_QUANTITY, LARGEST_AMOUNT),
        (LARGEST_QUANTITY, -LARGEST_AMOUNT),
    );
    let rejected = server.post(&euros(&[plus; 100])).await;
    assert!(
        rejected.text().contains("100000000000000000000"),
        "{rejected:?}"
    );
    assert_eq!(pointers(rejected), ["/items"]);
    let rejected = server.post(&euros(&[minus; 100])).await;
    assert!(
        rejected.text().contains("-100000000000000000000"),
        "{rejected:?}"
    );
    assert_eq!(pointers(rejected), ["/items"]);
    let mut lines = [minus; 100];
    lines[50..].fill(plus);
    let order = create(&server, &euros(&lines)).await;
    assert_eq!(order["total_amount"], 0);
}

async fn unit_amounts_have_inclusive_limits(database: Database) {
    let server = Server::start(&database, &[]).await;
    let balanced = |amount: i64| euros(&[(1, LARGEST_AMOUNT), (1, amount), (1, LARGEST_AMOUNT)]);
    for amount in [-LARGEST_AMOUNT, -1, 0, 1, LARGEST_AMOUNT] {
        let order = create(&server, &balanced(amount)).await;
        assert_eq!(order["items"][1]["unit_amount"], amount);
    }
    for amount in [-LARGEST_AMOUNT - 1, LARGEST_AMOUNT + 1, i64::MIN, i64::MAX] {
        let response = server.post(&balanced(amount)).await;
        assert_eq!(pointers(response), ["/items/1/unit_amount"], "{amount}");
    }
}

async fn every_line_has_an_amount_or_none_has_and_the_currency_agrees(database: Database) {
    let server = Server::start(&database, &[]).await;
    let with = json!({"product_id": "a", "quantity": 1, "unit_amount": 0});
    let without = json!({"product_id": "a", "quantity": 1});
    let explicit = json!({"product_id": "a", "quantity": 1, "unit_amount": null});
    for (body, expected) in [
        (
            json!({"items": [with, without, with], "currency": "EUR"}),
            &["/items/1/unit_amount"][..],
        ),
        (
            json!({"items": [explicit, with, without], "currency": "EUR"}),
            &["/items/0/unit_amount", "/items/2/unit_amount"],
        ),
        (json!({"items": [without, with]}), &["/items/0/unit_amount"]),
        (json!({"items": [with, with]}), &["/currency"]),
        (
            json!({"items": [without, explicit], "currency": "EUR"}),
            &["/currency"],
        ),
        (
            json!({"product_id": "a", "quantity": 1, "unit_amount": 0}),
            &["/currency"],
        ),
        (
            json!({"product_id": "a", "quantity": 1, "currency": "EUR"}),
            &["/currency"],
        ),
    ] {
        assert_eq!(pointers(server.post(&body).await), expected, "{body}");
    }
    let free = create(&server, &json!({"items": [with, with], "currency": "EUR"})).await;
    assert_eq!(
        (&free["currency"], &free["total_amount"]),
        (&json!("EUR"), &json!(0))
    );
    let plain = create(&server, &json!({"items": [without, explicit]})).await;
    assert_eq!(
        (&plain["currency"], &plain["total_amount"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(plain["items"], json!([explicit, explicit]));
}

async fn currencies_are_active_codes_in_upper_case_with_a_minor_unit(database: Database) {
    let server = Server::start(&database, &[]).await;
    let body = |currency: Value| json!({"product_id": "a", "quantity": 2, "unit_amount": 3, "currency": currency});
    // With two, no, three and four decimals. The service counts minor units, so all have the same total.
    for code in ["EUR", "JPY", "BHD", "CLF"] {
        let order = create(&server, &body(json!(code))).await;
        assert_eq!(
            (&order["currency"], &order["total_amount"]),
            (&json!(code), &json!(6))
        );
        assert_eq!(server.get(&order_path(&order)).await.json::<Value>(), order);
    }
    let withdrawn = ["HRK", "DEM", "ANG"];
    let without_minor_unit = ["XAU", "XDR", "XTS", "XXX"];
    let malformed = [
        "eur", "Eur", "", "EU", "EURO", " EUR", "EUR ", "978", "€UR", "EU\0",
    ];
    for code in [&withdrawn[..], &without_minor_unit, &malformed].concat() {
        assert_eq!(
            pointers(server.post(&body(json!(code))).await),
            ["/currency"],
            "{code}"
        );
    }
    for other in [json!(978), json!(["EUR"]), json!({}), json!(true)] {
        assert_eq!(
            pointers(server.post(&body(other.clone())).await),
            ["/currency"],
            "{other}"
        );
    }
}
