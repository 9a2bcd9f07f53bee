//! Random updates of the store are compared with a model of the contract.

use std::collections::{BTreeMap, HashMap};

use order_service::domain::{ItemsPatch, MetadataPatch, Patch, PatchError, Quantity, Status};
use order_service::store::{Feed, IfMatch, MigrateOptions, Store, UpdateOrder, UpdateOutcome};
use serde_json::Value;
use uuid::Uuid;

use super::contract::{caller, create, json, new_order, open_url, update};
use crate::support::database::Database;
use crate::support::random::Random;

crate::on_both!(ten_thousand_orders_with_random_updates_follow_the_state_machine);

/// The table of transitions in the contract, independent of the code under test.
fn is_allowed(from: &str, to: &str) -> bool {
    [
        ("pending", "confirmed"),
        ("confirmed", "shipped"),
        ("shipped", "delivered"),
        ("pending", "cancelled"),
        ("confirmed", "cancelled"),
    ]
    .contains(&(from, to))
}

fn random_patch(random: &mut Random) -> Patch {
    let status = usize::try_from(random.below(5)).unwrap();
    Patch {
        status: (random.below(3) > 0).then_some(Status::ALL[status]),
        items: (random.below(4) == 0).then(|| {
            let quantity = i64::try_from(1 + random.below(3)).unwrap();
            ItemsPatch::Quantity(Quantity::parse(quantity).unwrap())
        }),
        metadata: match random.below(5) {
            0 => Some(MetadataPatch::Clear),
            1 => {
                let value = (random.below(2) == 0).then(|| random.below(2).to_string());
                let key = random.below(3).to_string();
                Some(MetadataPatch::Merge(BTreeMap::from([(key, value)])))
            }
            _ => None,
        },
    }
}

async fn current(store: &Store, id: Uuid) -> Value {
    json(&store.get(&caller(), id).await.unwrap().unwrap())
}

/// Creates an order, updates it ten times, checks each result, and returns its last version.
async fn update_at_random(store: Store, seed: u64) -> i64 {
    let mut random = Random(seed);
    let order = create(&store, new_order("a")).await;
    let mut before = json(&order);
    for _ in 0..10 {
        let patch = random_patch(&mut random);
        let version = before["version"].as_i64().unwrap();
        let stale = random.below(5) == 0;
        let if_match = if stale {
            IfMatch::Versions(vec![i32::try_from(version).unwrap() + 1])
        } else {
            IfMatch::Any
        };
        let command = UpdateOrder {
            caller: caller(),
            if_match,
            ..update(order.id, patch.clone())
        };
        let updated = store.update(command).await.unwrap();
        let after = current(&store, order.id).await;
        let from = before["status"].as_str().unwrap();
        match updated {
            UpdateOutcome::PreconditionFailed => assert!(stale && after == before),
            UpdateOutcome::Rejected(PatchError::IllegalTransition { .. }) => {
                let to = patch.status.unwrap().as_str();
                assert!(!stale && from != to && !is_allowed(from, to) && after == before);
            }
            UpdateOutcome::Rejected(PatchError::NotEditable { .. }) => {
                assert!(patch.items.is_some() && from != "pending" && after == before);
            }
            UpdateOutcome::Current(document) => {
                assert!(!stale);
                assert_eq!(json(&document), after);
                let to = after["status"].as_str().unwrap();
                assert!(from == to || is_allowed(from, to), "{from} {to}");
                let grown = i64::from(after != before);
                assert_eq!(after["version"].as_i64().unwrap(), version + grown);
            }
            other => panic!("{other:?}"),
        }
        before = after;
    }
    let events = store
        .order_events(&caller(), order.id, 0, 100)
        .await
        .unwrap()
        .page
        .events;
    let versions: Vec<_> = events
        .iter()
        .map(|event| i64::from(event.version))
        .collect();
    let expected: Vec<_> = (1..=before["version"].as_i64().unwrap()).collect();
    assert_eq!(versions, expected, "one event for each version");
    assert_eq!(
        serde_json::from_str::<Value>(&events.last().unwrap().data).unwrap(),
        before
    );
    before["version"].as_i64().unwrap()
}

async fn ten_thousand_orders_with_random_updates_follow_the_state_machine(database: Database) {
    // In memory, SQLite does not wait for the disk at each of 60 000 writes.
    let url = if database.is_postgres() {
        database.url()
    } else {
        "sqlite::memory:".to_owned()
    };
    let (store, connector) = open_url(&url, &[]);
    connector.migrate(MigrateOptions::default()).await.unwrap();
    let seed = u64::from(Uuid::new_v4().as_fields().0);
    eprintln!("seed {seed}");
    let mut written = 0;
    for first in (0..10_000).step_by(50) {
        let tasks: Vec<_> = (first..first + 50)
            .map(|i| tokio::spawn(update_at_random(store.clone(), seed.wrapping_add(i))))
            .collect();
        for task in tasks {
            written += task.await.unwrap();
        }
    }
    // The feed has each version of each order once and in order.
    let (mut versions, mut cursor) = (HashMap::new(), None);
    loop {
        let feed = store.feed(&caller(), cursor, 100).await.unwrap();
        let Feed::Page { page, next } = feed.page else {
            panic!("the cursor has expired");
        };
        if page.events.is_empty() {
            // On PostgreSQL the feed waits for every earlier transaction of the cluster, including those of
            // other tests.
            let versions: i32 = versions.values().sum();
            if i64::from(versions) == written {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        }
        cursor = Some(next);
        for event in &page.events {
            let version = versions.entry(event.order_id).or_insert(0);
            *version += 1;
            assert_eq!(event.version, *version);
        }
    }
    assert_eq!(versions.len(), 10_000);
}

#[test]
fn the_schemas_and_the_documentation_list_the_statuses_of_the_domain() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let quoted = Status::ALL
        .map(|status| format!("'{}'", status.as_str()))
        .join(", ");
    for (database, column) in [("postgres", "VALUE"), ("sqlite", "status")] {
        let sql = read(&format!(
            "migrations/{database}/2026-11-27-000004_create_orders/up.sql"
        ));
        assert!(
            sql.contains(&format!("CHECK ({column} IN ({quoted}))")),
            "{database}"
        );
    }
    let docs = read("docs/API.md");
    for status in Status::ALL {
        let next: Vec<_> = status
            .next()
            .iter()
            .map(|next| format!("`{}`", next.as_str()))
            .collect();
        let next = if next.is_empty() {
            "–".to_owned()
        } else {
            next.join(", ")
        };
        let row = format!("| `{}` | {next} |", status.as_str());
        assert!(docs.contains(&row), "docs/API.md lacks: {row}");
    }
}
