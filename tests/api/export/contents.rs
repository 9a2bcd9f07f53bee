//! What an export contains, and how it is requested.

use std::collections::HashSet;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use uuid::Uuid;

use super::{ORDERS, create_all};
use crate::support::auth_file::{AuthFile, api_key, bearer};
use crate::support::database::Database;
use crate::support::export::{self, Export};
use crate::support::orders::{order, order_id, order_path};
use crate::support::problem::{problem, problem_kind};
use crate::support::raw_client::RawClient;
use crate::support::server::Server;

crate::on_both!(
    an_export_has_the_orders_of_all_pages_in_their_order,
    an_export_resumes_after_its_last_complete_line,
    an_export_has_the_orders_of_one_tenant,
);

/// The orders of a list page by page, each as the text of the page.
async fn pages(server: &Server, first: &str) -> Vec<String> {
    let mut orders = Vec::new();
    let mut path = Some(first.to_owned());
    while let Some(at) = path {
        let page = server.get(&at).await;
        let text = page.text();
        let text = text.strip_prefix('[').unwrap().strip_suffix(']').unwrap();
        let text = text.replace("},{\"id\":", "}\n{\"id\":");
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), page.json::<Vec<Value>>().len());
        orders.extend(lines);
        path = page.next_link();
    }
    orders
}

async fn an_export_has_the_orders_of_all_pages_in_their_order(database: Database) {
    let server = Server::start(&database, &[]).await;
    let empty = Export::of(&server, ORDERS).await;
    assert_eq!(empty.complete().len(), 0, "{empty:?}");
    create_all(
        &server,
        (0..250).map(|i| {
            let product = if i % 5 == 0 { "rare" } else { "common" };
            let customer = format!("customer {}", i % 2);
            json!({"product_id": product, "quantity": 1, "customer_id": customer,
                "metadata": {"note": "one\nline, \"},{\\\"id\\\":\" and \u{2028}"}})
        }),
    )
    .await;
    let all = pages(&server, ORDERS).await;
    for (at, line) in all.iter().enumerate() {
        if at % 3 == 0 {
            let order: Value = serde_json::from_str(line).unwrap();
            let confirmed = json!({"status": "confirmed"});
            let updated = server.patch(&order_path(&order), &confirmed).await;
            assert_eq!(updated.status(), 200);
        }
    }
    let middle: Value = serde_json::from_str(&all[120]).unwrap();
    let created = middle["created_at"].as_str().unwrap();
    for (query, count) in [
        (String::new(), 250),
        // Two full pages.
        ("product_id=common".to_owned(), 200),
        ("product_id=rare&status=confirmed".to_owned(), 0),
        ("customer_id=customer+1".to_owned(), 125),
        ("status=confirmed".to_owned(), 84),
        ("status=shipped".to_owned(), 0),
        (format!("starting_after={}", order_id(&middle)), 129),
        ("order=asc".to_owned(), 250),
        (
            format!("order=asc&starting_after={}", order_id(&middle)),
            120,
        ),
        (
            "product_id=common&status=pending&status=confirmed".to_owned(),
            200,
        ),
        (format!("created_from={created}"), 121),
        (
            format!("customer_id=customer+1&order=asc&created_to={created}"),
            0,
        ),
    ] {
        let ended = Export::of(&server, &format!("{ORDERS}?{query}")).await;
        let expected = pages(&server, &format!("{ORDERS}?{query}&limit=60")).await;
        assert_eq!(ended.complete(), expected, "{query}");
        if count > 0 {
            assert_eq!(expected.len(), count, "{query}");
        }
    }
}

async fn an_export_resumes_after_its_last_complete_line(database: Database) {
    let server = Server::start(&database, &[]).await;
    create_all(&server, (0..350).map(|i| order(&format!("p-{i}")))).await;
    let whole = Export::of(&server, ORDERS).await;
    let all = whole.complete();
    assert_eq!(all.len(), 350);
    for _ in 0..20 {
        let mut lines: Vec<String> = Vec::new();
        let mut path = ORDERS.to_owned();
        // Each export is closed at a random byte, and so is the one that resumes it.
        for _ in 0..4 {
            let mut export = Export::open(&server, &path).await;
            let bytes = 400 + Uuid::new_v4().as_u128() % 30_000;
            export.read_bytes(usize::try_from(bytes).unwrap()).await;
            lines.extend(export.so_far().lines());
            if let Some(last) = lines.last() {
                let last: Value = serde_json::from_str(last).unwrap();
                path = format!("{ORDERS}?starting_after={}", order_id(&last));
            }
            // New orders are not a part of the export.
            server.create("later").await;
        }
        lines.extend(Export::of(&server, &path).await.complete());
        let ids = |lines: &[String]| -> Vec<String> {
            let parse = |line: &String| serde_json::from_str(line).unwrap();
            lines
                .iter()
                .map(parse)
                .map(|order: Value| order_id(&order).to_owned())
                .collect()
        };
        let (ids, all) = (ids(&lines), ids(&all));
        let unique: HashSet<_> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len(), "an order is repeated");
        // An export that has not delivered a line begins again with the newest order.
        assert!(ids.ends_with(&all), "an order is missing");
    }
}

async fn an_export_has_the_orders_of_one_tenant(database: Database) {
    let scopes: &[&str] = &["orders:read", "orders:write"];
    let file = AuthFile::with_keys(&[("a", scopes, "one"), ("b", scopes, "two")]);
    let server = Server::start(&database, &[("AUTH_FILE", &file.path())]).await;
    let mut last = Value::Null;
    for i in 0..130 {
        for id in ["a", "b"] {
            let request = server.client.post(server.url(ORDERS));
            let request = request.header("authorization", bearer(&api_key(id)));
            let body = json!({"product_id": format!("of {id}"), "quantity": i + 1});
            last = request.json(&body).send().await.unwrap().json();
        }
    }
    for (id, after_last) in [("a", 129), ("b", 129)] {
        let mut export = Export::open_as(&server, id, ORDERS).await;
        let orders = export.end().await.orders();
        assert_eq!(orders.len(), 130);
        let product = format!("of {id}");
        assert!(
            orders
                .iter()
                .all(|order| order["product_id"] == product.as_str())
        );
        // The id of another tenant's order is a place in the order of the ids, and no more.
        let path = format!("{ORDERS}?starting_after={}", order_id(&last));
        let mut export = Export::open_as(&server, id, &path).await;
        let orders = export.end().await.orders();
        let expected = if id == "a" { 130 } else { after_last };
        assert_eq!(orders.len(), expected);
        assert!(
            orders
                .iter()
                .all(|order| order["product_id"] == product.as_str())
        );
    }
}

#[tokio::test]
async fn an_export_is_sent_to_clients_that_prefer_it() {
    let server = Server::on_sqlite(&[]).await;
    server.create("sku-1").await;
    for (accept, media_type) in [
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/x-ndjson, */*;q=0.1", "application/x-ndjson"),
        (
            "application/x-ndjson, application/json;q=0.9",
            "application/x-ndjson",
        ),
        (
            "application/json, application/x-ndjson;q=0.9",
            "application/json",
        ),
        ("application/x-ndjson;q=0", "application/json"),
        ("*/*", "application/json"),
        ("text/html", "application/json"),
    ] {
        let request = server
            .client
            .get(server.url(ORDERS))
            .header("accept", accept);
        let response = request.send().await.unwrap();
        assert_eq!(response.header("content-type"), media_type, "{accept}");
        assert_eq!(
            response.text().starts_with('{'),
            media_type.ends_with("ndjson")
        );
    }
}

#[tokio::test]
async fn errors_before_the_first_page_are_problems() {
    let file = AuthFile::with_keys(&[
        ("a", &["orders:read"], "one"),
        ("b", &["events:read"], "one"),
    ]);
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    for (key, query, status, pointer) in [
        ("a", "limit=5", 422, "/limit"),
        ("a", "status=lost", 422, "/status"),
        ("a", "id=0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071", 422, "/id"),
        ("a", "starting_after=x", 422, "/starting_after"),
        ("b", "", 403, ""),
        ("c", "", 401, ""),
    ] {
        for head in [false, true] {
            let url = server.url(&format!("{ORDERS}?{query}"));
            let request = if head {
                server.client.head(url)
            } else {
                server.client.get(url)
            };
            let request = request.header("accept", "application/x-ndjson");
            let request = request.header("authorization", bearer(&api_key(key)));
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), status, "{query}");
            if !head {
                let problem = problem(response);
                if status == 422 {
                    assert_eq!(problem_kind(&problem), "validation-failed");
                    assert_eq!(problem["errors"][0]["pointer"], pointer);
                }
            }
        }
    }
}

#[tokio::test]
async fn head_has_the_head_of_an_export_and_no_body() {
    let server = Server::on_sqlite(&[]).await;
    server.create("sku-1").await;
    let mut client = RawClient::connect(&server.api).await;
    for _ in 0..2 {
        let request = export::request(ORDERS, "1.1", "").replace("GET", "HEAD");
        client.send(request).await;
        let response = client.response_to("HEAD").await;
        assert_eq!(response.status, 200);
        assert_eq!(
            response.header("content-type"),
            Some("application/x-ndjson")
        );
        // A length would be that of the export (RFC 9110, section 8.6).
        assert_eq!(response.header("content-length"), None, "{response:?}");
        client.expect_usable().await;
    }
    let metric: i64 = server.metric("order_exports").await;
    assert_eq!(metric, 0);
    client
        .send(export::request(ORDERS, "1.1", "Connection: close\r\n"))
        .await;
    let mut text = String::new();
    client.stream.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("}\n\r\n0\r\n\r\n"), "{text}");
}
