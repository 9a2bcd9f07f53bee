//! Clients that create, get, change and list orders.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::experiment::{Experiment, seconds};
use super::ledger::Ledger;
use super::service::{Credentials, Tenant};
use super::timeline::{Outcome, Timeline};
use crate::support::database::Database;
use crate::support::random::Random;

/// The pause before a retry.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// The time in which a request with retries must succeed.
const GIVE_UP_AFTER: Duration = Duration::from_secs(90);
/// The orders that a client remembers.
const REMEMBERED: usize = 20;

/// How the clients behave.
#[derive(Clone)]
pub(crate) struct Options {
    /// `http://HOST:PORT`
    pub(crate) url: String,
    pub(crate) clients: usize,
    /// Whether requests are sent until they succeed.
    pub(crate) retries: bool,
    /// Whether creations have idempotency keys. Without them, the ledger does not know what was created.
    pub(crate) idempotency_keys: bool,
    /// Whether clients only create orders.
    pub(crate) only_creates: bool,
    /// The longest time that a response may take.
    pub(crate) deadline: Duration,
    /// The pause between two requests of a client.
    pub(crate) pause: Duration,
    pub(crate) credentials: Credentials,
}

impl Options {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            clients: 24,
            retries: true,
            idempotency_keys: true,
            only_creates: false,
            deadline: Duration::from_secs(11),
            pause: Duration::from_millis(5),
            credentials: Credentials::of_tenants(),
        }
    }
}

/// Running clients.
pub(crate) struct Traffic {
    stopped: Arc<AtomicBool>,
    clients: JoinSet<()>,
    pub(crate) timeline: Arc<Timeline>,
    pub(crate) ledger: Arc<Ledger>,
}

impl Traffic {
    pub(crate) fn start(experiment: &mut Experiment, options: &Options) -> Self {
        let (timeline, ledger) = (experiment.new_timeline(), Arc::<Ledger>::default());
        let stopped = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for number in 0..options.clients {
            let client = Client {
                http: reqwest::Client::builder()
                    .timeout(options.deadline)
                    .build()
                    .unwrap(),
                tenant: Tenant::ALL[number % Tenant::ALL.len()],
                random: Random(experiment.seed.wrapping_add(u64::try_from(number).unwrap())),
                prefix: format!("{}-{number}", experiment.seed),
                options: options.clone(),
                timeline: Arc::clone(&timeline),
                ledger: Arc::clone(&ledger),
                orders: Vec::new(),
            };
            clients.spawn(client.run(Arc::clone(&stopped)));
        }
        Self {
            stopped,
            clients,
            timeline,
            ledger,
        }
    }

    /// Waits until the clients have finished what they do.
    pub(crate) async fn stop(mut self) -> (Arc<Timeline>, Arc<Ledger>) {
        self.stopped.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
        (self.timeline, self.ledger)
    }

    /// Stops, and fails if a request failed or an acknowledged order is missing.
    pub(crate) async fn expect_nothing_failed(
        self,
        experiment: &mut Experiment,
        database: &Database,
    ) {
        let (timeline, ledger) = self.stop().await;
        let counts = timeline.counts();
        let verified = ledger.verify(database).await;
        experiment.figure("requests", timeline.len());
        experiment.figure("failed", counts.failed);
        experiment.figure("slowest response in seconds", seconds(counts.slowest));
        assert_eq!(counts.failed, 0, "{counts:?}");
        assert_eq!(verified.lost, 0, "{verified:?}");
    }
}

/// An order that a client created.
struct Order {
    key: String,
    path: String,
    version: i64,
}

struct Client {
    /// The beginning of its idempotency keys.
    prefix: String,
    http: reqwest::Client,
    tenant: Tenant,
    random: Random,
    options: Options,
    timeline: Arc<Timeline>,
    ledger: Arc<Ledger>,
    orders: Vec<Order>,
}

impl Client {
    async fn run(mut self, stopped: Arc<AtomicBool>) {
        let mut count = 0;
        while !stopped.load(Ordering::Relaxed) {
            count += 1;
            match self.random.below(100) {
                _ if self.options.only_creates => self.create(count, &stopped).await,
                0..50 => self.create(count, &stopped).await,
                50..75 if !self.orders.is_empty() => self.get(&stopped).await,
                75..90 if !self.orders.is_empty() => self.change(count, &stopped).await,
                _ => {
                    self.send(
                        Method::GET,
                        "/api/v1/orders?limit=10",
                        None,
                        None,
                        200,
                        &stopped,
                    )
                    .await;
                }
            }
            tokio::time::sleep(self.options.pause).await;
        }
    }

    fn some_order(&mut self) -> usize {
        let count = u64::try_from(self.orders.len()).unwrap();
        usize::try_from(self.random.below(count)).unwrap()
    }

    async fn create(&mut self, count: usize, stopped: &AtomicBool) {
        let key = format!(
            "{}-{count}-{}",
            self.prefix,
            self.random.below(u64::MAX >> 33)
        );
        let body = json!({"product_id": "sku-1", "quantity": 1, "metadata": {"order": key}});
        self.ledger.will_send();
        let path = "/api/v1/orders";
        let sent_key = self.options.idempotency_keys.then_some(key.as_str());
        let Some(order) = self
            .send(Method::POST, path, Some(&body), sent_key, 201, stopped)
            .await
        else {
            return;
        };
        if let Err(wrong) = self.ledger.created(&key, self.tenant, &order) {
            self.timeline.record(Instant::now(), Outcome::Wrong(wrong));
            return;
        }
        if self.orders.len() == REMEMBERED {
            self.orders.remove(0);
        }
        self.orders.push(Order {
            key,
            path: format!("{path}/{}", order["id"].as_str().unwrap()),
            version: 1,
        });
    }

    async fn get(&mut self, stopped: &AtomicBool) {
        let chosen = self.some_order();
        let path = self.orders[chosen].path.clone();
        let Some(order) = self
            .send(Method::GET, &path, None, None, 200, stopped)
            .await
        else {
            return;
        };
        let (version, known) = (
            order["version"].as_i64().unwrap(),
            self.orders[chosen].version,
        );
        if version < known {
            let wrong = format!("version {version} of {path} after {known}");
            self.timeline.record(Instant::now(), Outcome::Wrong(wrong));
        }
    }

    async fn change(&mut self, count: usize, stopped: &AtomicBool) {
        let chosen = self.some_order();
        let path = self.orders[chosen].path.clone();
        let body = json!({"metadata": {"count": count.to_string()}});
        let Some(order) = self
            .send(Method::PATCH, &path, Some(&body), None, 200, stopped)
            .await
        else {
            return;
        };
        let version = order["version"].as_i64().unwrap();
        self.ledger.changed(&self.orders[chosen].key, version);
        self.orders[chosen].version = version;
    }

    /// Sends a request, again and again if the options say so. Returns the body of the expected response.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
        expected: u16,
        stopped: &AtomicBool,
    ) -> Option<Value> {
        let first = Instant::now();
        loop {
            let url = format!("{}{path}", self.options.url);
            let mut request = self.http.request(method.clone(), url);
            let credential = self.options.credentials.of(self.tenant);
            request = request.header("authorization", &*credential);
            if let Some(body) = body {
                request = request.json(body);
            }
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            let sent = Instant::now();
            let (outcome, body) = attempt(request, expected).await;
            let is_final =
                body.is_some() || !self.options.retries || matches!(outcome, Outcome::Wrong(_));
            self.timeline.record(sent, outcome);
            if is_final {
                return body;
            }
            // A read may be given up at the end; a write must become known.
            if stopped.load(Ordering::Relaxed) && method == Method::GET {
                return None;
            }
            if first.elapsed() > GIVE_UP_AFTER {
                let wrong = format!("{method} {path} does not succeed");
                self.timeline.record(first, Outcome::Wrong(wrong));
                return None;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// Sends a request once.
async fn attempt(request: RequestBuilder, expected: u16) -> (Outcome, Option<Value>) {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_timeout() => {
            return (Outcome::Wrong("no response in time".to_owned()), None);
        }
        Err(_) => return (Outcome::NoResponse, None),
    };
    let status = response.status().as_u16();
    let is_problem = response
        .headers()
        .get("content-type")
        .is_some_and(|it| it == "application/problem+json");
    let may_retry = response.headers().contains_key("retry-after");
    match response.text().await {
        Ok(text) if status == expected => match serde_json::from_str(&text) {
            Ok(body) => (Outcome::Ok, Some(body)),
            Err(error) => (Outcome::Wrong(format!("{error}: {text}")), None),
        },
        Ok(_) if status == 503 && is_problem && may_retry => (Outcome::Unavailable, None),
        Ok(text) => (Outcome::Wrong(format!("{status} {text}")), None),
        Err(error) if error.is_timeout() => {
            (Outcome::Wrong("no whole response in time".to_owned()), None)
        }
        Err(_) => (Outcome::NoResponse, None),
    }
}
