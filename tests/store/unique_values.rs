//! Processes whose batches have the same keys and external ids do not deadlock, and every response is correct.

use std::collections::HashMap;

use futures_util::future::join_all;
use order_service::store::{CreateOutcome, Document, Idempotency, Store, StoreError};
use uuid::Uuid;

use super::contract::{new_order, open_url, with_external_id};
use crate::support::binary::migrate;
use crate::support::cluster::Cluster;
use crate::support::random::Random;

const STORES: usize = 4;
const ROUNDS: u64 = 100;
/// The number of requests of a store in each round.
const REQUESTS: usize = 40;
/// The number of keys, and of external ids, of each round.
const VALUES: u64 = 15;

/// A key with the content of its request, and an external id. The content is the external id, as in the service.
type Request = (Option<String>, Option<String>);

fn random_request(random: &mut Random, round: u64) -> Request {
    let mut value = |kind: &str| {
        let number = random.below(VALUES);
        (random.below(3) > 0).then(|| format!("{kind}-{round}-{number}"))
    };
    (value("key"), value("external"))
}

fn hash(external_id: Option<&str>) -> [u8; 32] {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(external_id.unwrap_or_default().bytes()) {
        *to = from;
    }
    hash
}

async fn send(store: &Store, (key, external_id): &Request) -> Result<CreateOutcome, StoreError> {
    let mut command = new_order("");
    command.idempotency = key
        .clone()
        .map(|key| Idempotency::new(&key, hash(external_id.as_deref())));
    if let Some(external_id) = external_id {
        command = with_external_id(command, external_id);
    }
    store.create(command).await
}

/// The order of each key, with its external id; and the order of each external id.
#[derive(Default)]
struct Created {
    keys: HashMap<String, (Document, Option<String>)>,
    external_ids: HashMap<String, Uuid>,
    orders: i64,
}

impl Created {
    fn record(&mut self, (key, external_id): &Request, document: &Document) {
        self.orders += 1;
        if let Some(key) = key {
            let other = self
                .keys
                .insert(key.clone(), (document.clone(), external_id.clone()));
            assert!(other.is_none(), "two orders have the key {key}");
        }
        if let Some(external_id) = external_id {
            let other = self.external_ids.insert(external_id.clone(), document.id);
            assert!(other.is_none(), "two orders are {external_id}");
        }
    }

    /// Checks that an order that was created explains the outcome of a request that created none.
    fn explain(&self, (key, external_id): &Request, outcome: &CreateOutcome) {
        let by_key = key.as_ref().and_then(|key| self.keys.get(key));
        let by_external_id = external_id
            .as_ref()
            .and_then(|id| self.external_ids.get(id));
        let explained = match outcome {
            CreateOutcome::New(_) => true,
            CreateOutcome::Replay(document) => {
                by_key == Some(&(document.clone(), external_id.clone()))
            }
            CreateOutcome::KeyReused => by_key.is_some_and(|(_, other)| other != external_id),
            // The key may have been used later.
            CreateOutcome::ExternalIdTaken { order_id } => by_external_id == Some(order_id),
        };
        assert!(explained, "{key:?} {external_id:?} {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_several_processes_with_the_same_keys_and_external_ids_do_not_deadlock() {
    // By default, the server looks for a deadlock only after a second, when `lock_timeout` has ended the wait.
    let cluster = Cluster::start_with(&[("POSTGRES_CONF", "deadlock_timeout = 1ms")]);
    let database = cluster.database().await;
    migrate(&database);
    let stores: Vec<_> = (0..STORES)
        .map(|_| open_url(&database.url(), &[]).0)
        .collect();
    let seed = u64::from(Uuid::new_v4().as_fields().0);
    eprintln!("seed {seed}");
    let mut random = Random(seed);
    let mut created = Created::default();
    for round in 0..ROUNDS {
        let requests: Vec<_> = (0..STORES * REQUESTS)
            .map(|_| random_request(&mut random, round))
            .collect();
        let tasks = requests.iter().cloned().enumerate().map(|(i, request)| {
            let store = stores[i % STORES].clone();
            tokio::spawn(async move { send(&store, &request).await })
        });
        let outcomes: Vec<_> = join_all(tasks)
            .await
            .into_iter()
            .map(|outcome| outcome.unwrap().unwrap())
            .collect();
        for (request, outcome) in requests.iter().zip(&outcomes) {
            if let CreateOutcome::New(document) = outcome {
                created.record(request, document);
            }
        }
        for (request, outcome) in requests.iter().zip(&outcomes) {
            created.explain(request, outcome);
        }
    }
    for table in ["orders", "order_items", "events"] {
        assert_eq!(database.count(table).await, created.orders, "{table}");
    }
    let keys = i64::try_from(created.keys.len()).unwrap();
    assert_eq!(database.count("idempotency_keys").await, keys);
    let of_orders = "idempotency_keys JOIN orders ON id = order_id";
    assert_eq!(database.count(of_orders).await, keys);
    let log = cluster.log();
    let deadlocks = log.matches("deadlock detected").count();
    assert_eq!(deadlocks, 0, "{log}");
    let races = log
        .matches("unique constraint \"orders_external_id\"")
        .count();
    assert!(races > 0, "no two statements had the same external id");
    eprintln!("{} orders, {races} races", created.orders);
}
