//! What an import may write: external ids, tenants, withdrawn currencies.

use serde_json::{Value, json};

use super::{Input, assert_imported, at, line, ndjson};
use crate::support::binary::migrate;
use crate::support::database::Database;
use crate::support::orders::{order_id, order_path, order_with_external_id};
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    an_external_id_of_another_order_is_a_reject_with_the_id_of_that_order,
    an_id_that_exists_is_skipped,
    each_tenant_has_its_own_orders,
    an_order_in_a_withdrawn_currency_is_usable,
    equal_lines_are_different_orders
);

fn with_external_id(product_id: &str, second: i64, external_id: &str) -> Value {
    let mut line = line(product_id, second);
    line["external_id"] = external_id.into();
    line
}

async fn an_external_id_of_another_order_is_a_reject_with_the_id_of_that_order(database: Database) {
    let server = Server::start(&database, &[]).await;
    let taken: Value = server
        .post(&order_with_external_id("a", "taken"))
        .await
        .json();
    // More than one chunk, so that some duplicates are in the same one and some in a later one.
    let mut lines = vec![
        with_external_id("b", 1, "taken"),
        with_external_id("c", 2, "twice"),
        with_external_id("d", 3, "twice"),
    ];
    lines.extend((0..3_000).map(|n| line("filler", 10 + n)));
    lines.push(with_external_id("e", 4, "twice"));
    // The first line with it is a reject for another reason, so the second has it.
    let mut invalid = with_external_id("f", 5, "free");
    invalid["quantity"] = 0.into();
    lines.extend([invalid, with_external_id("g", 6, "free")]);
    let input = Input::of(lines);
    let imported = input.import(&database);
    assert_eq!((imported.code(), imported.counts()), (1, (3_002, 0, 4)));
    let first: Vec<Value> = server.get("/api/v1/orders?external_id=twice").await.json();
    assert_eq!(first[0]["product_id"], "c");
    let rejects = input.rejects();
    let found: Vec<_> = rejects
        .iter()
        .map(|reject| {
            (
                reject["line"].as_u64().unwrap(),
                reject["order_id"].as_str(),
            )
        })
        .collect();
    let expected = [
        (1, Some(order_id(&taken))),
        (3, Some(order_id(&first[0]))),
        (3_004, Some(order_id(&first[0]))),
        (3_005, None),
    ];
    assert_eq!(found, expected);
    let error = &rejects[0]["errors"][0];
    assert_eq!(error["pointer"], "/external_id");
    assert!(error["detail"].as_str().unwrap().contains(order_id(&taken)));
    assert_eq!(database.count("orders").await, 3_003);
    assert_eq!(database.count("events").await, 3_003);
}

async fn an_id_that_exists_is_skipped(database: Database) {
    let server = Server::start(&database, &[]).await;
    let order: Value = server
        .post(&json!({"product_id": "a", "quantity": 1, "external_id": "x"}))
        .await
        .json();
    let mut other = order.clone();
    other["items"][0]["quantity"] = 2.into();
    other["quantity"] = 2.into();
    let imported = Input::of([order.clone(), other, order.clone()]).import(&database);
    assert_eq!((imported.code(), imported.counts()), (0, (0, 3, 0)));
    let mut new = line("b", 0);
    new["id"] = "016f5e66-e800-7000-8000-000000000001".into();
    let imported = Input::of([new.clone(), new]).import(&database);
    assert_eq!(
        (imported.code(), imported.counts()),
        (0, (1, 1, 0)),
        "{}",
        imported.stderr()
    );
    assert_eq!(server.get(&order_path(&order)).await.json::<Value>(), order);
    assert_eq!(database.count("events").await, 2);
}

async fn each_tenant_has_its_own_orders(database: Database) {
    migrate(&database);
    let input = Input::of([line("a", 1), with_external_id("b", 2, "x")]);
    for tenant in ["acme", "globex"] {
        let imported = input.import_with(&database, &["--tenant", tenant]);
        assert_eq!((imported.code(), imported.counts()), (0, (2, 0, 0)));
    }
    assert_imported(&database, 4).await;
    let of_acme = "SELECT count(*) FROM orders WHERE tenant = 'acme'";
    assert_eq!(database.number(of_acme).await, 2);
    // The ids of one tenant do not show those of another.
    let ids = "SELECT count(DISTINCT id) FROM orders";
    assert_eq!(database.number(ids).await, 4);
    let server = Server::start(&database, &[]).await;
    let of_default: Vec<Value> = server.get("/api/v1/orders").await.json();
    assert!(of_default.is_empty());
}

async fn an_order_in_a_withdrawn_currency_is_usable(database: Database) {
    let server = Server::start(&database, &[]).await;
    let marks = json!({
        "items": [{"product_id": "a", "quantity": 2, "unit_amount": 1_995}], "currency": "DEM",
        "total_amount": 3_990, "created_at": "1999-06-01T12:00:00+02:00", "external_id": "old-1",
    });
    let imported = Input::of([marks.clone()]).import(&database);
    assert_eq!((imported.code(), imported.counts()), (0, (1, 0, 0)));
    let list: Vec<Value> = server
        .get("/api/v1/orders?product_id=a&status=pending")
        .await
        .json();
    let order = &list[0];
    assert_eq!(
        (&order["currency"], &order["total_amount"]),
        (&json!("DEM"), &json!(3_990))
    );
    assert_eq!(order["created_at"], "1999-06-01T10:00:00.000000Z");
    let path = order_path(order);
    assert_eq!(server.get(&path).await.json::<Value>(), *order);
    let range =
        "/api/v1/orders?created_from=1999-06-01T10:00:00Z&created_to=1999-06-01T10:00:00.000001Z";
    assert_eq!(server.get(range).await.json::<Vec<Value>>(), list);
    let items = json!({"items": [{"product_id": "b", "quantity": 1, "unit_amount": 5}]});
    let patched = server.patch(&path, &items).await;
    assert_eq!(patched.json::<Value>()["total_amount"], 5);
    let patched = server
        .patch(
            &path,
            &json!({"status": "confirmed", "metadata": {"a": "b"}}),
        )
        .await;
    assert_eq!(
        (patched.status(), patched.json::<Value>()["version"].clone()),
        (200, json!(3))
    );
    // A new order cannot have it.
    let new = json!({"product_id": "a", "quantity": 2, "unit_amount": 1, "currency": "DEM"});
    let rejected = problem(server.post(&new).await);
    assert_eq!(problem_kind(&rejected), "validation-failed");
}

async fn equal_lines_are_different_orders(database: Database) {
    migrate(&database);
    let lines = ndjson([line("a", 1), line("a", 1), line("a", 1)]);
    let input = Input::new(&lines);
    assert_eq!(input.import(&database).counts(), (3, 0, 0));
    // More lines at the end are new orders; those before are known.
    input.write(
        lines
            + &ndjson([
                line("a", 1),
                json!({"product_id": "a", "quantity": 1, "created_at": at(1)}),
            ]),
    );
    assert_eq!(input.import(&database).counts(), (2, 3, 0));
    assert_imported(&database, 5).await;
}
