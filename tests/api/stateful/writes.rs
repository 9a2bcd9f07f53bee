//! Creates, updates and erasures.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::commands::{Create, Form, Patch, Tags, Target};
use super::model::{Created, Updated};
use super::session::{Session, expect_problem};
use crate::support::eventually;
use crate::support::orders::order_path;
use crate::support::problem::{problem, problem_kind};

impl Session<'_> {
    pub(super) async fn create(&mut self, create: &Create) {
        let expected = self.model.create(&create.new, create.key);
        let body = create.new.json(create.form);
        let mut request = self.post("/api/v1/orders", &body);
        if let Some(key) = create.key {
            request = request.header("idempotency-key", format!("key-{key}"));
        }
        let response = self.exchange(request).await;
        let is_replay = response.headers().contains_key("idempotency-replayed");
        match expected {
            Created::Rejected(kind) => expect_problem(response, 422, kind),
            Created::ExternalIdTaken(order) => {
                assert_eq!(response.status(), 409, "{response:?}");
                let taken = problem(response);
                assert_eq!(problem_kind(&taken), "external-id-taken");
                assert_eq!(taken["order_id"], self.id(Some(order)));
            }
            Created::New | Created::Replay(_) => {
                assert_eq!(response.status(), 201, "{body} {response:?}");
                assert_eq!(response.header("etag"), "\"1\"");
                let returned: Value = response.json();
                assert_eq!(response.header("location"), order_path(&returned));
                self.created(create, &expected, &returned, is_replay);
            }
        }
    }

    /// Checks an order that was created now or before, and adds a new one to the model.
    fn created(&mut self, create: &Create, expected: &Created, returned: &Value, is_replay: bool) {
        let index = if let Created::Replay(order) = expected {
            assert!(is_replay, "{returned}");
            *order
        } else {
            assert!(!is_replay, "{returned}");
            let index = self.model.add(create, returned);
            self.model.feed.push(vec![(index, 0)]);
            index
        };
        assert_eq!(returned, &self.model.orders[index].document(0));
    }

    pub(super) async fn retry(&mut self, key: u8, form: Form, changed: bool) {
        let Some((new, _)) = self.model.keys.get(&key) else {
            return;
        };
        let mut new = new.clone();
        if changed {
            new.lines[0].quantity += 1;
        }
        let key = Some(key);
        self.create(&Create { new, form, key }).await;
    }

    pub(super) async fn batch(&mut self, creates: &[Create]) {
        // Which of two orders with one key is the first is not determined within a batch.
        let (mut keys, mut external_ids) = (HashSet::new(), HashSet::new());
        let creates = creates.iter().cloned().map(|mut create| {
            create.key = create.key.filter(|key| keys.insert(*key));
            let external_id = create.new.external_id;
            create.new.external_id = external_id.filter(|id| external_ids.insert(*id));
            create
        });
        let creates: Vec<_> = creates.collect();
        let orders = creates.iter().map(|create| {
            let mut order = create.new.json(create.form);
            if let Some(key) = create.key {
                order["idempotency_key"] = json!(format!("key-{key}"));
            }
            order
        });
        let body = json!({"orders": orders.collect::<Vec<_>>()});
        let expected: Vec<_> = creates
            .iter()
            .map(|create| self.model.create(&create.new, create.key))
            .collect();
        let request = self.post("/api/v1/orders/batch", &body);
        let response = self.exchange(request).await;
        assert_eq!(response.status(), 200, "{response:?}");
        let response: Value = response.json();
        let results = response["results"].as_array().unwrap();
        assert_eq!(results.len(), creates.len());
        let first = self.model.feed.len();
        for ((create, expected), result) in creates.iter().zip(expected).zip(results) {
            let problem = &result["problem"];
            let status = match expected {
                Created::Rejected(kind) => {
                    assert_eq!(problem_kind(problem), kind);
                    422
                }
                Created::ExternalIdTaken(order) => {
                    assert_eq!(problem["order_id"], self.id(Some(order)));
                    409
                }
                Created::New | Created::Replay(_) => {
                    let is_replay = result["idempotency_replayed"] == true;
                    self.created(create, &expected, &result["order"], is_replay);
                    201
                }
            };
            assert_eq!(result["status"], status, "{result}");
        }
        // Their events may be in any order.
        let group: Vec<_> = self.model.feed.drain(first..).flatten().collect();
        self.model.feed.push(group);
    }

    pub(super) async fn update(&mut self, target: Target, patch: &Patch, tags: Option<Tags>) {
        let index = self.model.of_age(target);
        let version = index.map_or(1, |index| self.model.orders[index].version());
        let body = patch.json();
        let mut request = self.patch(&self.path(index), &body);
        if let Some(tags) = tags {
            request = request.header("if-match", tags.value(version));
        }
        let response = self.exchange(request).await;
        if !patch.is_legal() {
            return expect_problem(response, 422, "validation-failed");
        }
        if matches!(tags, Some(Tags::Malformed)) {
            return expect_problem(response, 400, "malformed-request");
        }
        let Some(index) = index else {
            return expect_problem(response, 404, "not-found");
        };
        // The comparison is strong.
        if matches!(tags, Some(Tags::Stale | Tags::Weak)) {
            return expect_problem(response, 412, "precondition-failed");
        }
        let next = match self.model.orders[index].updated(patch) {
            Updated::Rejected(status, kind) => return expect_problem(response, status, kind),
            Updated::IllegalTransition(allowed) => {
                assert_eq!(response.status(), 409, "{body} {response:?}");
                let rejected = problem(response);
                assert_eq!(problem_kind(&rejected), "illegal-transition");
                assert_eq!(rejected["allowed"], json!(allowed));
                return;
            }
            Updated::Unchanged => None,
            Updated::Changed(next) => Some(next),
        };
        assert_eq!(response.status(), 200, "{body} {response:?}");
        let returned: Value = response.json();
        if let Some(next) = next {
            self.model.update(index, next, &returned);
        }
        let order = &self.model.orders[index];
        assert_eq!(returned, order.current(), "{body}");
        assert_eq!(response.header("etag"), format!("\"{}\"", order.version()));
    }

    pub(super) async fn erase(&mut self, customer: u8) {
        let response = self.delete(&format!("/api/v1/customers/c{customer}")).await;
        assert_eq!(response.status(), 202, "{response:?}");
        let location = response.header("location").to_owned();
        eventually("the erasure is done", Duration::from_secs(30), async || {
            self.get(&location).await.json::<Value>()["state"] == "done"
        })
        .await;
        let erasure: Value = self.get(&location).await.json();
        let mut returned = HashMap::new();
        for order in &self.model.orders {
            if order.latest().customer == Some(format!("c{customer}")) {
                let path = format!("/api/v1/orders/{}", order.id);
                returned.insert(order.id.clone(), self.get(&path).await.json());
            }
        }
        assert_eq!(erasure["orders"], returned.len(), "{erasure}");
        self.model.erase(customer, &returned);
        for (index, order) in self.model.orders.iter().enumerate() {
            if let Some(returned) = returned.get(&order.id) {
                assert_eq!(returned, &order.current(), "{index}");
            }
        }
    }
}
