//! Sends the commands of one tenant, and compares the responses with the model.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use super::commands::{Command, Tags, Target};
use super::model::Model;
use crate::support::auth_file::bearer;
use crate::support::client::{Request, Response};
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

/// How often each outcome of a request occurred.
pub(super) type Outcomes = RefCell<BTreeMap<String, u32>>;

pub(super) struct Session<'a> {
    server: &'a Server,
    outcomes: &'a Outcomes,
    authorization: String,
    pub(super) model: Model,
    /// Each cursor of the feed with the number of events before it.
    pub(super) cursors: Vec<(String, usize)>,
    /// The events of the feed as they were read first.
    pub(super) read: Vec<super::model::EventId>,
}

impl<'a> Session<'a> {
    pub(super) fn new(server: &'a Server, credential: &str, outcomes: &'a Outcomes) -> Self {
        Self {
            server,
            outcomes,
            authorization: bearer(credential),
            model: Model::default(),
            cursors: Vec::new(),
            read: Vec::new(),
        }
    }

    /// Runs all commands, and compares everything that is stored at the end.
    pub(super) async fn run(mut self, commands: &[Command]) {
        for command in commands {
            self.send(command).await;
        }
        self.check_all().await;
    }

    async fn send(&mut self, command: &Command) {
        match command {
            Command::Create(create) => self.create(create).await,
            Command::Retry { key, form, changed } => self.retry(*key, *form, *changed).await,
            Command::Batch(creates) => self.batch(creates).await,
            Command::Get(order, tags) => self.get_order(*order, *tags).await,
            Command::Update {
                order,
                patch,
                if_match,
            } => self.update(*order, patch, *if_match).await,
            Command::List(list) => self.list(list).await,
            Command::ListById(orders) => self.list_by_id(orders).await,
            Command::OrderEvents(order) => self.order_events(*order).await,
            Command::Feed { cursor, limit } => self.feed(*cursor, *limit).await,
            Command::Erase(customer) => self.erase(*customer).await,
        }
    }

    /// Sends a request of the tenant.
    pub(super) async fn exchange(&self, request: Request) -> Response {
        let request = request.header("authorization", &self.authorization);
        let response = request.send().await.unwrap();
        let mut outcome = response.status().to_string();
        if response.status() >= 400 {
            outcome = format!("{outcome} {}", problem_kind(&response.json()));
        } else if response.headers().contains_key("idempotency-replayed") {
            outcome = format!("{outcome} replay");
        }
        *self.outcomes.borrow_mut().entry(outcome).or_default() += 1;
        response
    }

    pub(super) async fn get(&self, path: &str) -> Response {
        let request = self.server.client.get(self.server.url(path));
        self.exchange(request).await
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Request {
        let request = self.server.client.post(self.server.url(path));
        request.json(body)
    }

    pub(super) fn patch(&self, path: &str, body: &Value) -> Request {
        let request = self.server.client.patch(self.server.url(path));
        request.json(body)
    }

    pub(super) async fn delete(&self, path: &str) -> Response {
        let request = self.server.client.delete(self.server.url(path));
        self.exchange(request).await
    }

    /// The path of an order, or of one that does not exist.
    pub(super) fn path(&self, order: Option<usize>) -> String {
        format!("/api/v1/orders/{}", self.id(order))
    }

    pub(super) fn id(&self, order: Option<usize>) -> String {
        let missing = || Uuid::from_u128(7).to_string();
        order.map_or_else(missing, |index| self.model.orders[index].id.clone())
    }

    async fn get_order(&self, target: Target, if_none_match: Option<Tags>) {
        let index = self.model.of_age(target);
        let version = index.map_or(1, |index| self.model.orders[index].version());
        let mut request = self.server.client.get(self.server.url(&self.path(index)));
        if let Some(tags) = if_none_match {
            request = request.header("if-none-match", tags.value(version));
        }
        let response = self.exchange(request).await;
        let Some(index) = index else {
            return expect_problem(response, 404, "not-found");
        };
        match if_none_match {
            Some(Tags::Malformed) => return expect_problem(response, 400, "malformed-request"),
            // The comparison is weak.
            Some(Tags::Current | Tags::Any | Tags::Weak | Tags::StaleAndCurrent) => {
                assert_eq!(response.status(), 304, "{response:?}");
            }
            Some(Tags::Stale) | None => {
                assert_eq!(response.status(), 200, "{response:?}");
                assert_eq!(response.json::<Value>(), self.model.orders[index].current());
            }
        }
        assert_eq!(response.header("etag"), format!("\"{version}\""));
    }
}

/// Checks a problem of this kind.
pub(super) fn expect_problem(response: Response, status: u16, kind: &str) {
    assert_eq!(response.status(), status, "{response:?}");
    assert_eq!(problem_kind(&problem(response)), kind);
}

impl Tags {
    /// The value of the header for an order of this version.
    pub(super) fn value(self, version: usize) -> String {
        let stale = version + 1;
        match self {
            Self::Current => format!("\"{version}\""),
            Self::Any => "*".to_owned(),
            Self::Stale => format!("\"{stale}\""),
            Self::Weak => format!("W/\"{version}\""),
            Self::StaleAndCurrent => format!("\"{stale}\", \"{version}\""),
            Self::Malformed => format!("{version}"),
        }
    }
}
