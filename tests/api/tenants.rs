//! Two tenants with API keys use one service. What belongs to one of them does not exist for the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::{join, join_all};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::auth_file::{AuthFile, api_key, bearer};
use crate::support::client::{Request, Response};
use crate::support::database::Database;
use crate::support::event_stream::EventStream;
use crate::support::orders::{order, order_id, order_path};
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    an_order_of_another_tenant_looks_like_one_that_does_not_exist,
    lists_and_filters_have_only_own_orders,
    first_pages_that_are_requested_at_the_same_time_have_only_own_orders,
    an_idempotency_key_names_an_order_of_its_tenant,
    feeds_and_streams_have_only_own_events,
    a_cursor_of_another_tenant_has_expired,
);

const ORDERS: &str = "/api/v1/orders";
const FEED: &str = "/api/v1/events";

/// The tenants. Each has an API key of the same name.
const TENANTS: [&str; 2] = ["acme", "other"];

async fn start(database: &Database) -> (Server, AuthFile) {
    let scopes: &[&str] = &["orders:read", "orders:write", "events:read"];
    let file = AuthFile::with_keys(&TENANTS.map(|tenant| (tenant, scopes, tenant)));
    let server = Server::start(database, &[("AUTH_FILE", &file.path())]).await;
    (server, file)
}

/// The API as one tenant uses it.
#[derive(Clone, Copy)]
struct Shop<'a> {
    server: &'a Server,
    tenant: &'static str,
}

fn shops(server: &Server) -> [Shop<'_>; 2] {
    TENANTS.map(|tenant| Shop { server, tenant })
}

impl Shop<'_> {
    fn request(self, method: Method, path: &str) -> Request {
        let request = self.server.client.request(method, self.server.url(path));
        request.header("authorization", bearer(&api_key(self.tenant)))
    }

    async fn get(self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    async fn create(self, body: &Value) -> Value {
        let request = self.request(Method::POST, ORDERS).json(body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 201);
        response.json()
    }

    async fn create_with_key(self, key: &str, body: &Value) -> Response {
        let request = self.request(Method::POST, ORDERS).json(body);
        request.header("idempotency-key", key).send().await.unwrap()
    }

    /// The ids of a list, which is read to its end.
    async fn list(self, query: &str) -> Vec<String> {
        let (mut ids, mut path) = (Vec::new(), format!("{ORDERS}?{query}"));
        loop {
            let page = self.get(&path).await;
            let orders: Vec<Value> = page.json();
            ids.extend(orders.iter().map(|order| order_id(order).to_owned()));
            match page.next_link() {
                Some(next) => path = next,
                None => return ids,
            }
        }
    }

    /// The first `count` events of the feed after a link, and the link after them. There are no more. On PostgreSQL,
    /// readers wait for every earlier transaction of the cluster, including those of other tests.
    async fn events(self, link: &str, count: usize) -> (Vec<Value>, String) {
        for _ in 0..1_500 {
            let page = self.get(link).await;
            let events: Vec<Value> = page.json();
            assert!(events.len() <= count, "foreign events in {page:?}");
            if events.len() == count {
                return (events, page.next_link().unwrap());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} does not have {count} events", self.tenant);
    }

    async fn stream(self, last_event_id: Option<&str>) -> EventStream {
        EventStream::open_with(self.server, &api_key(self.tenant), last_event_id).await
    }
}

/// A response without what differs between two requests for different orders: request id, time and path.
fn comparable(response: &Response) -> (u16, BTreeMap<String, String>, Value) {
    let headers = response.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()));
    let mut headers: BTreeMap<String, String> = headers.collect();
    assert!(headers.remove("x-request-id").is_some() && headers.remove("date").is_some());
    let mut body: Value = serde_json::from_str(&response.text()).unwrap_or_default();
    if let Some(body) = body.as_object_mut() {
        body.remove("request_id");
        body.remove("instance");
    }
    (response.status(), headers, body)
}

async fn an_order_of_another_tenant_looks_like_one_that_does_not_exist(database: Database) {
    let (server, _file) = start(&database).await;
    let [acme, other] = shops(&server);
    let order = acme.create(&order("sku-1")).await;
    let existing = order_path(&order);
    let missing = format!("{ORDERS}/{}", Uuid::now_v7());
    let confirm = json!({"status": "confirmed"});
    let illegal = json!({"status": "delivered"});
    for (method, suffix, body, condition) in [
        (Method::GET, "", None, None),
        (Method::HEAD, "", None, None),
        (Method::GET, "", None, Some(("if-none-match", "\"1\""))),
        (Method::PATCH, "", Some(&confirm), None),
        (Method::PATCH, "", Some(&illegal), None),
        (
            Method::PATCH,
            "",
            Some(&confirm),
            Some(("if-match", "\"1\"")),
        ),
        (
            Method::PATCH,
            "",
            Some(&confirm),
            Some(("if-match", "\"9\"")),
        ),
        (Method::GET, "/events", None, None),
        (Method::HEAD, "/events", None, None),
    ] {
        let responses = [&existing, &missing].map(async |path| {
            let mut request = other.request(method.clone(), &format!("{path}{suffix}"));
            if let Some(body) = body {
                request = request.json(body);
            }
            if let Some((name, value)) = condition {
                request = request.header(name, value);
            }
            comparable(&request.send().await.unwrap())
        });
        let [of_acme, of_nobody] = responses;
        let (of_acme, of_nobody) = join(of_acme, of_nobody).await;
        assert_eq!(of_acme.0, 404, "{method} {suffix} {condition:?}");
        assert_eq!(of_acme, of_nobody);
    }
    // Nothing has changed.
    assert_eq!(acme.get(&existing).await.json::<Value>(), order);
    let events: Vec<Value> = acme.get(&format!("{existing}/events")).await.json();
    assert_eq!(events.len(), 1);
}

async fn lists_and_filters_have_only_own_orders(database: Database) {
    let (server, _file) = start(&database).await;
    let shops = shops(&server);
    let mut own: [Vec<Value>; 2] = Default::default();
    // Both tenants have the same products and customers, and their orders alternate.
    for i in 0..8 {
        for (shop, own) in shops.iter().zip(&mut own) {
            let body = json!({
                "product_id": format!("product-{}", i % 2),
                "customer_id": format!("customer-{}", i % 2),
                "quantity": 1,
            });
            let mut order = shop.create(&body).await;
            if i % 3 == 0 {
                let patch = shop.request(Method::PATCH, &order_path(&order));
                let patch = patch.json(&json!({"status": "confirmed"}));
                order = patch.send().await.unwrap().json();
            }
            own.push(order);
        }
    }
    for (at, shop) in shops.iter().enumerate() {
        let (own, others) = (&own[at], &own[1 - at]);
        let expected = |filter: &dyn Fn(&Value) -> bool| -> Vec<String> {
            let own = own.iter().rev().filter(|order| filter(order));
            own.map(|order| order_id(order).to_owned()).collect()
        };
        for limit in [3, 100] {
            let list = async |query: &str| shop.list(&format!("limit={limit}&{query}")).await;
            assert_eq!(list("").await, expected(&|_| true));
            for status in ["pending", "confirmed", "shipped"] {
                let of_status = expected(&|order| order["status"] == status);
                assert_eq!(list(&format!("status={status}")).await, of_status);
            }
            for filter in ["product_id", "customer_id"] {
                let value = format!("{}-1", filter.trim_end_matches("_id"));
                let query = format!("{filter}={value}");
                let filtered = expected(&|order| order[filter] == value.as_str());
                assert_eq!(list(&query).await, filtered);
                let filtered = expected(&|order| {
                    order[filter] == value.as_str() && order["status"] == "confirmed"
                });
                assert!(!filtered.is_empty());
                assert_eq!(list(&format!("{query}&status=confirmed")).await, filtered);
            }
            // The id of another tenant's order is a point in the ordering, as any id is.
            let foreign = order_id(&others[4]);
            let older = expected(&|order| order_id(order) < foreign);
            assert_eq!(list(&format!("starting_after={foreign}")).await, older);
        }
    }
}

async fn first_pages_that_are_requested_at_the_same_time_have_only_own_orders(database: Database) {
    let (server, _file) = start(&database).await;
    let shops = shops(&server);
    for round in 1..=40 {
        join_all(shops.map(async |shop| shop.create(&order(shop.tenant)).await)).await;
        let pages = (0..16).map(async |i| {
            let shop = shops[i % 2];
            // Not validated against the description of the API, so that the requests reach the service together.
            let request = shop.request(Method::GET, ORDERS).send_streaming();
            let orders: Vec<Value> = request.await.unwrap().json().await.unwrap();
            assert_eq!(orders.len(), round, "the orders of {}", shop.tenant);
            for order in orders {
                assert_eq!(order["product_id"], shop.tenant);
            }
        });
        join_all(pages).await;
    }
}

async fn an_idempotency_key_names_an_order_of_its_tenant(database: Database) {
    let (server, _file) = start(&database).await;
    let shops = shops(&server);
    for i in 0..10 {
        let key = format!("key-{i}");
        // The bodies are the same in half of the rounds. In the others, a shared key would be a key that is reused.
        let body = |shop: Shop<'_>| order(if i % 2 == 0 { "same" } else { shop.tenant });
        let create = async || {
            let [acme, other] =
                shops.map(async |shop| shop.create_with_key(&key, &body(shop)).await);
            join(acme, other).await
        };
        let (acme, other) = create().await;
        let (acme_again, other_again) = create().await;
        for (first, again) in [(&acme, acme_again), (&other, other_again)] {
            assert_eq!((first.status(), again.status()), (201, 201));
            assert!(!first.headers().contains_key("idempotency-replayed"));
            assert_eq!(again.header("idempotency-replayed"), "true");
            assert_eq!(first.json::<Value>(), again.json::<Value>());
        }
        let [acme, other] = [acme, other].map(|response| response.json::<Value>());
        assert_ne!(order_id(&acme), order_id(&other));
        for (shop, order) in shops.iter().zip([acme, other]) {
            assert_eq!(shop.get(&order_path(&order)).await.json::<Value>(), order);
        }
    }
}

/// Checks that events are those of the orders of a tenant, and that its key has caused them.
fn expect_own<'e>(
    shop: Shop<'_>,
    own: &BTreeSet<String>,
    events: impl IntoIterator<Item = &'e Value>,
) {
    for event in events {
        assert!(
            own.contains(event["subject"].as_str().unwrap()),
            "{} got {event}",
            shop.tenant
        );
        assert_eq!(event["data"]["product_id"], shop.tenant);
        assert_eq!(event["authtype"], "api_key");
        assert_eq!(event["authid"], shop.tenant);
    }
}

async fn feeds_and_streams_have_only_own_events(database: Database) {
    let (server, _file) = start(&database).await;
    let shops = shops(&server);
    let mut live = [shops[0].stream(None).await, shops[1].stream(None).await];
    let mut own: [BTreeSet<String>; 2] = Default::default();
    const ROUNDS: usize = 12;
    for _ in 0..ROUNDS {
        for (shop, own) in shops.iter().zip(&mut own) {
            let created = shop.create(&order(shop.tenant)).await;
            own.insert(order_id(&created).to_owned());
            let patch = shop.request(Method::PATCH, &order_path(&created));
            let patch = patch.json(&json!({"status": "confirmed"}));
            assert_eq!(patch.send().await.unwrap().status(), 200);
        }
    }
    for ((shop, own), live) in shops.into_iter().zip(&own).zip(&mut live) {
        let (pages, _) = shop.events(FEED, 2 * ROUNDS).await;
        expect_own(shop, own, &pages);
        // From the head, which all streams share, and from the database.
        let mut late = shop.stream(None).await;
        for stream in [live, &mut late] {
            for expected in &pages {
                let event = stream.next().await.unwrap().data;
                expect_own(shop, own, [&event]);
                assert_eq!(&event, expected);
            }
        }
    }
}

async fn a_cursor_of_another_tenant_has_expired(database: Database) {
    let (server, _file) = start(&database).await;
    let [acme, other] = shops(&server);
    let beginning = acme.get(FEED).await.next_link().unwrap();
    for shop in [acme, other] {
        for _ in 0..3 {
            shop.create(&order(shop.tenant)).await;
        }
    }
    let (own, _) = other.events(FEED, 3).await;
    let (_, end) = acme.events(FEED, 3).await;
    for link in [beginning, end] {
        let response = other.get(&link).await;
        assert_eq!(response.status(), 410);
        let gone = problem(response);
        assert_eq!(problem_kind(&gone), "cursor-expired");
        let oldest = gone["oldest"].as_str().unwrap();
        let oldest = format!("{FEED}?after={oldest}");
        assert_eq!(other.events(&oldest, 3).await.0, own);
        assert_eq!(
            acme.get(&oldest).await.status(),
            410,
            "the cursor of `other`"
        );
        let (_, cursor) = link.split_once("after=").unwrap();
        let cursor = cursor.split('&').next().unwrap();
        let stream = other.request(Method::GET, FEED);
        let stream = stream.header("accept", "text/event-stream");
        let stream = stream.header("last-event-id", cursor).send_streaming();
        assert_eq!(
            stream.await.unwrap().status(),
            410,
            "before the stream begins"
        );
    }
}
