//! Random sequences of requests, compared with a model of the contract: totals, lines, versions, and the filter by
//! product.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::database::Database;
use crate::support::orders::order_id;
use crate::support::problem::{problem, problem_kind};
use crate::support::random::Random;
use crate::support::server::Server;

crate::on_both!(random_requests_have_the_results_of_the_model);

const CLIENTS: u64 = 8;
const REQUESTS: usize = 120;
const PRODUCTS: u64 = 6;

/// A line of the model.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    product: String,
    quantity: i64,
    amount: Option<i64>,
}

impl Line {
    fn json(&self) -> Value {
        json!({"product_id": self.product, "quantity": self.quantity, "unit_amount": self.amount})
    }
}

/// An order of the model.
#[derive(Clone, Debug)]
struct Order {
    id: String,
    lines: Vec<Line>,
    currency: Option<&'static str>,
    status: &'static str,
    version: i64,
}

/// The total of lines, unless it is not a legal one.
fn total(lines: &[Line]) -> Result<Option<i128>, ()> {
    let amounts = lines
        .iter()
        .map(|line| Some(i128::from(line.amount?) * i128::from(line.quantity)));
    let total: Option<i128> = amounts.sum();
    match total {
        Some(total) if !(0..1 << 53).contains(&total) => Err(()),
        total => Ok(total),
    }
}

impl Order {
    /// The members of the order that the model predicts.
    fn json(&self) -> Value {
        let items: Vec<_> = self.lines.iter().map(Line::json).collect();
        let single = (self.lines.len() == 1).then(|| &self.lines[0]);
        json!({
            "id": self.id, "items": items, "currency": self.currency, "status": self.status, "version": self.version,
            "product_id": single.map(|line| &line.product), "quantity": single.map(|line| line.quantity),
            "total_amount": total(&self.lines).unwrap().map(|total| i64::try_from(total).unwrap()),
        })
    }

    /// Panics unless the order that the service returns is this one.
    fn check(&self, found: &Value) {
        for (member, expected) in self.json().as_object().unwrap() {
            assert_eq!(&found[member], expected, "{member} of {found}");
        }
    }
}

/// The first page of a list.
fn list(product: &str, status: &str) -> String {
    let mut query = form_urlencoded::Serializer::new("limit=7".to_owned());
    query.append_pair("product_id", product);
    if !status.is_empty() {
        query.append_pair("status", status);
    }
    format!("/api/v1/orders?{}", query.finish())
}

/// A client with products of its own, so that its lists have only its own orders.
struct Client {
    server: Arc<Server>,
    random: Random,
    name: u64,
    /// Oldest first.
    orders: Vec<Order>,
}

impl Client {
    fn product(&self, number: u64) -> String {
        format!("client {} product {number}", self.name)
    }

    fn lines(&mut self, with_amounts: bool) -> Vec<Line> {
        let many = self.random.below(20) == 0;
        let count = 1 + self.random.below(if many { 100 } else { 4 });
        let mut lines = Vec::new();
        for _ in 0..count {
            let product = self.random.below(PRODUCTS);
            let amount = match self.random.below(12) {
                0..3 => -i64::try_from(self.random.below(500)).unwrap(),
                3 => 1_000_000_000_000,
                4 => -1_000_000_000_000,
                _ => i64::try_from(self.random.below(10_000)).unwrap(),
            };
            let quantity = match self.random.below(10) {
                0 => 1_000_000,
                _ => 1 + i64::try_from(self.random.below(9)).unwrap(),
            };
            lines.push(Line {
                product: self.product(product),
                quantity,
                amount: with_amounts.then_some(amount),
            });
        }
        lines
    }

    /// A body for these lines, in one of the forms that mean the same.
    fn body(&mut self, lines: &[Line], currency: Option<&str>) -> Value {
        let mut body = match lines {
            [line] if self.random.below(2) == 0 => line.json(),
            lines => json!({"items": lines.iter().map(Line::json).collect::<Vec<_>>()}),
        };
        if currency.is_some() || self.random.below(2) == 0 {
            body["currency"] = json!(currency);
        }
        body
    }

    async fn create(&mut self) {
        let currency =
            [None, Some("EUR"), Some("JPY")][usize::try_from(self.random.below(3)).unwrap()];
        let lines = self.lines(currency.is_some());
        let body = self.body(&lines, currency);
        let response = self.server.post(&body).await;
        if total(&lines).is_err() {
            let rejected = problem(response);
            assert_eq!(problem_kind(&rejected), "validation-failed", "{body}");
            return;
        }
        assert_eq!(response.status(), 201, "{body} {response:?}");
        let created: Value = response.json();
        let order = Order {
            id: order_id(&created).to_owned(),
            lines,
            currency,
            status: "pending",
            version: 1,
        };
        order.check(&created);
        self.orders.push(order);
    }

    async fn update(&mut self) {
        // One of the newest orders, so that most of them are updated several times.
        let age = usize::try_from(self.random.below(8)).unwrap();
        let Some(age) = age.checked_rem(self.orders.len()) else {
            return self.create().await;
        };
        let index = self.orders.len() - 1 - age;
        let before = self.orders[index].clone();
        let mut after = before.clone();
        let mut body = json!({});
        let mut valid = true;
        match self.random.below(8) {
            0 => {
                let quantity = 1 + i64::try_from(self.random.below(3)).unwrap();
                body["quantity"] = json!(quantity);
                match after.lines.as_mut_slice() {
                    [line] => line.quantity = quantity,
                    _ => valid = false,
                }
            }
            1..5 => {
                // Sometimes amounts that do not fit the currency, and sometimes the same lines.
                let fits = self.random.below(8) > 0;
                if self.random.below(6) > 0 {
                    after.lines = self.lines(before.currency.is_some() == fits);
                    valid = fits;
                }
                body["items"] = after.lines.iter().map(Line::json).collect();
            }
            _ => {}
        }
        valid &= total(&after.lines).is_ok();
        if self.random.below(3) == 0 {
            let next = match before.status {
                "pending" => ["confirmed", "cancelled"],
                "confirmed" => ["shipped", "cancelled"],
                "shipped" => ["delivered"; 2],
                other => [other; 2],
            };
            after.status = next[usize::try_from(self.random.below(2)).unwrap()];
            body["status"] = json!(after.status);
        }
        let edits = !valid || after.lines != before.lines;
        let path = format!("/api/v1/orders/{}", before.id);
        let response = self.server.patch(&path, &body).await;
        if edits && before.status != "pending" {
            // An illegal total is found without the order, everything else after its status.
            assert!(
                [409, 422].contains(&response.status()),
                "{body} {response:?}"
            );
            assert!(
                response.status() == 409 || total(&after.lines).is_err(),
                "{body} {response:?}"
            );
            after = before;
        } else if !valid {
            assert_eq!(response.status(), 422, "{body} {response:?}");
            after = before;
        } else {
            assert_eq!(response.status(), 200, "{body} {response:?}");
            let changed = after.lines != before.lines || after.status != before.status;
            after.version += i64::from(changed);
        }
        after.check(&self.server.get(&path).await.json());
        self.orders[index] = after;
    }

    /// Compares the lists of each product with the model.
    async fn check_lists(&self) {
        for number in 0..PRODUCTS {
            let product = self.product(number);
            for status in [
                "",
                "pending",
                "confirmed",
                "shipped",
                "delivered",
                "cancelled",
            ] {
                let matching = self.orders.iter().rev().filter(|order| {
                    (status.is_empty() || order.status == status)
                        && order.lines.iter().any(|line| line.product == product)
                });
                let mut path = Some(list(&product, status));
                let mut found = Vec::new();
                while let Some(at) = path {
                    let page = self.server.get(&at).await;
                    found.extend(page.json::<Vec<Value>>());
                    path = page.next_link();
                }
                let expected: Vec<_> = matching.collect();
                assert_eq!(found.len(), expected.len(), "{product} {status}");
                for (order, found) in expected.into_iter().zip(&found) {
                    order.check(found);
                }
            }
        }
    }

    async fn run(mut self) -> (usize, i64) {
        for step in 1..=REQUESTS {
            if self.random.below(3) == 0 {
                self.create().await;
            } else {
                self.update().await;
            }
            if step % 40 == 0 {
                self.check_lists().await;
            }
        }
        for order in &self.orders {
            let path = format!("/api/v1/orders/{}/events", order.id);
            let events: Vec<Value> = self.server.get(&path).await.json();
            assert_eq!(i64::try_from(events.len()), Ok(order.version));
            order.check(&events.last().unwrap()["data"]);
        }
        let lines = self.orders.iter().map(|order| order.lines.len()).sum();
        (lines, self.orders.iter().map(|order| order.version).sum())
    }
}

async fn random_requests_have_the_results_of_the_model(database: Database) {
    let server = Arc::new(Server::start(&database, &[]).await);
    let seed = u64::from(Uuid::new_v4().as_fields().0);
    eprintln!("seed {seed}");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|name| {
            let client = Client {
                server: Arc::clone(&server),
                random: Random(seed.wrapping_add(name)),
                name,
                orders: Vec::new(),
            };
            tokio::spawn(client.run())
        })
        .collect();
    let (mut lines, mut versions) = (0, 0);
    for client in clients {
        let (of_client, written) = client.await.unwrap();
        lines += of_client;
        versions += written;
    }
    assert_eq!(
        usize::try_from(database.count("order_items").await),
        Ok(lines)
    );
    assert_eq!(database.count("events").await, versions);
}
