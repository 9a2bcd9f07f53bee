//! Lists by status, time of creation, product, customer and external id, in both directions, and orders by id.

use std::collections::HashSet;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::database::Database;
use crate::support::orders::{large_order, order_id, order_path};
use crate::support::problem::{problem, problem_kind};
use crate::support::random::Random;
use crate::support::server::Server;

crate::on_both!(
    following_the_links_visits_exactly_the_orders_of_the_query,
    orders_by_id_are_in_the_requested_order,
    large_orders_by_id_come_in_several_pages,
    wrong_values_and_combinations_are_rejected,
);

/// The path of a list with these parameters.
fn list(parameters: &[(&str, String)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    format!("/api/v1/orders?{}", query.finish())
}

/// Reads a page and all that follow it, each of which has at most `limit` orders.
async fn read_pages(server: &Server, first: &str, limit: usize) -> Vec<Value> {
    let mut orders = Vec::new();
    let mut path = Some(first.to_owned());
    while let Some(at) = path {
        let response = server.get(&at).await;
        assert_eq!(response.status(), 200, "{response:?}");
        let page: Vec<Value> = response.json();
        assert!(page.len() <= limit, "{at}");
        path = response.next_link();
        assert!(path.is_none() || !page.is_empty(), "{at}");
        orders.extend(page);
    }
    orders
}

/// Creates orders of few products and customers, with random statuses. Oldest first.
async fn create_orders(server: &Server, random: &mut Random, count: usize) -> Vec<Value> {
    let mut orders = Vec::new();
    for i in 0..count {
        let mut body = json!({"product_id": format!("p {}", random.below(3)), "quantity": 1});
        if random.below(3) > 0 {
            body["customer_id"] = json!(format!("c&{}", random.below(2)));
        }
        if random.below(2) > 0 {
            body["external_id"] = json!(format!("e+{i}"));
        }
        let mut order: Value = server.post(&body).await.json();
        let next: &[&str] = match random.below(5) {
            0 => &["confirmed"],
            1 => &["confirmed", "shipped"],
            2 => &["confirmed", "shipped", "delivered"],
            3 => &["cancelled"],
            _ => &[],
        };
        for status in next {
            let patch = json!({"status": status});
            order = server.patch(&order_path(&order), &patch).await.json();
        }
        orders.push(order);
    }
    orders
}

/// A time with nanoseconds near the creation of an order.
fn near(orders: &[Value], random: &mut Random) -> String {
    let order =
        &orders[usize::try_from(random.below(u64::try_from(orders.len()).unwrap())).unwrap()];
    let (seconds, micros) = order["created_at"]
        .as_str()
        .unwrap()
        .split_once('.')
        .unwrap();
    let micros: u64 = micros.strip_suffix('Z').unwrap().parse().unwrap();
    let micros = (micros + random.below(3)).clamp(1, 1_000_000) - 1;
    let nanos = if random.below(3) == 0 {
        random.below(1_000)
    } else {
        0
    };
    format!("{seconds}.{micros:06}{nanos:03}Z")
}

/// The time of creation with nanoseconds, which compares as a text.
fn created_at(order: &Value) -> String {
    order["created_at"].as_str().unwrap().replace('Z', "000Z")
}

async fn following_the_links_visits_exactly_the_orders_of_the_query(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut random = Random::seeded();
    let orders = create_orders(&server, &mut random, 100).await;
    let ids = orders.iter().map(order_id);
    assert!(ids.is_sorted(), "later orders have larger ids");
    let mut found = 0;
    for _ in 0..200 {
        let mut parameters = Vec::new();
        let mut expected = orders.clone();
        let (name, value) = match random.below(6) {
            0 | 1 => ("product_id", format!("p {}", random.below(4))),
            2 | 3 => ("customer_id", format!("c&{}", random.below(3))),
            4 => ("external_id", format!("e+{}", random.below(100))),
            _ => ("", String::new()),
        };
        if !name.is_empty() {
            expected.retain(|order| order[name] == value.as_str());
            parameters.push((name, value));
        }
        let mut statuses = HashSet::new();
        for _ in 0..random.below(4) {
            let all = ["pending", "confirmed", "shipped", "delivered", "cancelled"];
            let status = all[usize::try_from(random.below(5)).unwrap()];
            statuses.insert(status);
            parameters.push(("status", status.to_owned()));
        }
        if !statuses.is_empty() {
            expected.retain(|order| statuses.contains(order["status"].as_str().unwrap()));
        }
        let from = (random.below(2) == 0).then(|| near(&orders, &mut random));
        let to = (random.below(2) == 0).then(|| near(&orders, &mut random));
        if let Some(from) = &from {
            expected.retain(|order| created_at(order) >= *from);
            parameters.push(("created_from", from.clone()));
        }
        if let Some(to) = &to {
            expected.retain(|order| created_at(order) < *to);
            parameters.push(("created_to", to.clone()));
        }
        let direction = ["", "asc", "desc"][usize::try_from(random.below(3)).unwrap()];
        if direction != "asc" {
            expected.reverse();
        }
        if !direction.is_empty() {
            parameters.push(("order", direction.to_owned()));
        }
        let limit = 1 + random.below(30);
        parameters.push(("limit", limit.to_string()));
        let path = list(&parameters);
        if from.is_some() && to.is_some() && from > to {
            assert_eq!(server.status(&path).await, 422, "{path}");
            continue;
        }
        let read = read_pages(&server, &path, usize::try_from(limit).unwrap()).await;
        found += read.len();
        assert_eq!(read, expected, "{path}");
    }
    assert!(found > 500, "{found}");
}

async fn orders_by_id_are_in_the_requested_order(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut random = Random::seeded();
    let orders = create_orders(&server, &mut random, 30).await;
    for round in 0..30 {
        let (mut parameters, mut expected) = (Vec::new(), Vec::<Value>::new());
        for _ in 0..=random.below(60) {
            let id = match orders.get(usize::try_from(random.below(40)).unwrap()) {
                Some(order) => {
                    if !expected.contains(order) {
                        expected.push(order.clone());
                    }
                    order_id(order).to_owned()
                }
                None => Uuid::new_v4().to_string(),
            };
            parameters.push((
                "id",
                if round % 2 == 0 {
                    id
                } else {
                    id.to_uppercase()
                },
            ));
        }
        let response = server.get(&list(&parameters)).await;
        assert_eq!(response.next_link(), None);
        assert_eq!(response.json::<Vec<Value>>(), expected);
    }
    // A hundred ids is the limit, and fits the limit of a path.
    let mut ids: Vec<_> = (0..99)
        .map(|_| ("id", Uuid::now_v7().to_string()))
        .collect();
    ids.push(("id", order_id(&orders[7]).to_owned()));
    assert_eq!(
        server.get(&list(&ids)).await.json::<Value>(),
        json!([orders[7]])
    );
    assert_eq!(
        server.get(&list(&ids[..99])).await.json::<Value>(),
        json!([])
    );
    ids.push(("id", Uuid::now_v7().to_string()));
    let rejected = problem(server.get(&list(&ids)).await);
    assert_eq!(rejected["errors"][0]["pointer"], "/id");
}

async fn large_orders_by_id_come_in_several_pages(database: Database) {
    let server = Server::start(&database, &[("MAX_BODY_BYTES", "200000")]).await;
    let mut asked = Vec::new();
    for i in 0..25 {
        let order: Value = server.post(&large_order(50)).await.json();
        let id = order_id(&order).to_owned();
        asked.insert(i * 7 % (i + 1), id);
    }
    // An unknown id at each end of a page.
    let mut ids = asked.clone();
    for at in [25, 20, 10, 10, 0] {
        ids.insert(at, Uuid::now_v7().to_string());
    }
    let ids: Vec<_> = ids.into_iter().map(|id| ("id", id)).collect();
    let mut path = Some(list(&ids));
    let (mut seen, mut lengths) = (Vec::new(), Vec::new());
    while let Some(at) = path {
        let response = server.get(&at).await;
        assert!(response.text().len() <= 1024 * 1024);
        let page: Vec<Value> = response.json();
        lengths.push(page.len());
        seen.extend(page.iter().map(|order| order_id(order).to_owned()));
        path = response.next_link();
    }
    assert_eq!(seen, asked);
    // Ten fit into a mebibyte.
    assert_eq!(lengths[..3], [10, 10, 5]);
}

async fn wrong_values_and_combinations_are_rejected(database: Database) {
    let server = Server::start(&database, &[]).await;
    let id = Uuid::now_v7();
    for (query, pointer) in [
        ("status=pending&status=lost", "/status"),
        ("order=up", "/order"),
        ("order=asc&order=asc", "/order"),
        ("created_from=2026-11-22", "/created_from"),
        ("created_from=2026-11-22T06:19:00", "/created_from"),
        // A plus sign that is not encoded is a space.
        ("created_to=2026-11-22T06:19:00+01:00", "/created_to"),
        (
            "created_from=2026-11-22T06:19:00Z&created_to=2026-11-22T06:18:59Z",
            "/created_to",
        ),
        // Also outside of the times that orders can have.
        (
            "created_from=1969-01-02T00:00:00Z&created_to=1969-01-01T00:00:00Z",
            "/created_to",
        ),
        (
            "created_from=9999-12-31T23:59:59.9Z&created_to=9999-12-31T23:59:59.1Z",
            "/created_to",
        ),
        ("external_id=", "/external_id"),
        ("product_id=a&external_id=b", "/external_id"),
        ("customer_id=a&status=pending&product_id=b", "/customer_id"),
        ("id=", "/id"),
        ("id=7", "/id"),
        (&format!("id={id}&id=x"), "/id"),
        (&format!("id={id}&limit=1"), "/id"),
        (&format!("status=pending&id={id}"), "/id"),
    ] {
        let rejected = problem(server.get(&format!("/api/v1/orders?{query}")).await);
        assert_eq!(problem_kind(&rejected), "validation-failed", "{query}");
        assert_eq!(rejected["errors"][0]["pointer"], pointer, "{query}");
    }
    // Times that no order can have are valid bounds.
    server.create("a").await;
    for (query, count) in [
        ("created_from=0000-01-01T00:00:00Z", 1),
        ("created_to=1969-12-31T23:59:59%2B00:00", 0),
        ("created_from=9999-12-31T23:59:59-23:59", 0),
        ("created_to=9999-12-31T23:59:59Z&order=asc", 1),
        (
            "created_from=2026-11-22T06:19:00Z&created_to=2026-11-22T06:19:00Z",
            0,
        ),
    ] {
        let response = server.get(&format!("/api/v1/orders?{query}")).await;
        assert_eq!(response.json::<Vec<Value>>().len(), count, "{query}");
    }
}
