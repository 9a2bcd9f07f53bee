//! Idempotency keys of orders in a batch.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{batch_request, is_replay, keyed, outcomes, post_batch, results};
use crate::support::auth_file::{AuthFile, api_key, bearer};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::orders::{order, order_id};
use crate::support::problem::problem;
use crate::support::server::Server;

crate::on_both!(
    a_repeated_batch_is_a_replay_of_each_order,
    one_key_twice_in_a_batch_is_one_order,
    keys_are_those_of_single_requests,
    a_malformed_key_fails_its_order,
    processes_that_send_the_same_keys_create_each_order_once,
    keys_belong_to_the_tenant,
    external_ids_are_those_of_single_requests,
    processes_that_send_the_same_external_ids_create_each_order_once,
    orders_that_compete_for_keys_and_external_ids_do_not_fail_others,
);

const DEADLOCKS: &str = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";

/// Orders with the keys `0`, `1` and so on.
fn with_keys(count: usize) -> Vec<Value> {
    (0..count)
        .map(|i| keyed(&format!("sku-{i}"), &i.to_string()))
        .collect()
}

async fn a_repeated_batch_is_a_replay_of_each_order(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut batch = with_keys(100);
    let first = results(&post_batch(&server, &batch).await);
    assert!(!first.iter().any(is_replay));
    // An order without a key, one with a new key, and one with another meaning.
    batch[10] = order("sku-10");
    batch[20]["idempotency_key"] = "new".into();
    batch[30]["quantity"] = 2.into();
    // The same meaning in another form.
    batch[40]["customer_id"] = Value::Null;
    batch[40]["metadata"] = json!({});
    let again = results(&post_batch(&server, &batch).await);
    for (index, (first, again)) in first.iter().zip(&again).enumerate() {
        match index {
            10 | 20 => {
                assert_eq!(again["status"], 201);
                assert!(!is_replay(again));
                assert_ne!(order_id(&first["order"]), order_id(&again["order"]));
            }
            30 => assert_eq!(
                outcomes(std::slice::from_ref(again)),
                [(422, "idempotency-key-reused")]
            ),
            _ => {
                assert!(is_replay(again), "{index} {again}");
                assert_eq!(first["order"].to_string(), again["order"].to_string());
            }
        }
    }
    assert_eq!(database.count("orders").await, 102);
    assert_eq!(database.count("events").await, 102);
    let metrics = server.scrape().await;
    assert!(
        metrics.contains("\norders_created_total 102\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("\norders_idempotent_replays_total 97\n"),
        "{metrics}"
    );
}

async fn one_key_twice_in_a_batch_is_one_order(database: Database) {
    let server = Server::start(&database, &[]).await;
    let batch = [
        keyed("a", "same"),
        order("other"),
        keyed("a", "same"),
        keyed("b", "two"),
        keyed("c", "two"),
    ];
    let results = results(&post_batch(&server, &batch).await);
    let (mut same, mut two) = ([&results[0], &results[2]], [&results[3], &results[4]]);
    assert_eq!(same[0]["order"], same[1]["order"]);
    same.sort_by_key(|result| is_replay(result));
    assert_eq!(same.map(is_replay), [false, true]);
    two.sort_by_key(|result| result["status"].as_u64());
    assert_eq!(
        two.map(|result| result["status"].as_u64().unwrap()),
        [201, 422]
    );
    assert!(!is_replay(two[0]));
    assert_eq!(database.count("orders").await, 3);
    assert_eq!(database.count("events").await, 3);
}

async fn keys_are_those_of_single_requests(database: Database) {
    let server = Server::start(&database, &[]).await;
    let single: Value = server.post_with_key("single", &order("a")).await.json();
    let batch = [keyed("a", "single"), keyed("b", "batch")];
    let results = results(&post_batch(&server, &batch).await);
    assert!(is_replay(&results[0]) && !is_replay(&results[1]));
    assert_eq!(results[0]["order"], single);
    let replay = server.post_with_key("batch", &order("b")).await;
    assert_eq!(replay.header("idempotency-replayed"), "true");
    assert_eq!(replay.json::<Value>(), results[1]["order"]);
}

async fn a_malformed_key_fails_its_order(database: Database) {
    let server = Server::start(&database, &[]).await;
    let long = "x".repeat(256);
    for key in [
        json!(""),
        json!("has space"),
        json!(long),
        json!("tab\there"),
        json!("\u{e9}"),
        json!(7),
        json!({}),
    ] {
        let mut bad = order("a");
        bad["idempotency_key"] = key.clone();
        let results = results(&post_batch(&server, &[order("a"), bad]).await);
        assert_eq!(
            outcomes(&results),
            [(201, ""), (422, "validation-failed")],
            "{key}"
        );
        let pointer = &results[1]["problem"]["errors"][0]["pointer"];
        assert_eq!(pointer, "/orders/1/idempotency_key", "{key}");
    }
    let both = json!({"product_id": "", "quantity": 1, "idempotency_key": ""});
    let rejected = results(&post_batch(&server, &[both]).await);
    let errors = rejected[0]["problem"]["errors"].as_array().unwrap();
    let pointers: Vec<_> = errors
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(
        pointers,
        ["/orders/0/product_id", "/orders/0/idempotency_key"]
    );
    let twice = r#"{"orders":[{"idempotency_key":"a","product_id":"a","quantity":1,"idempotency_key":"a"}]}"#;
    let rejected = results(&super::post_text(&server, twice).await);
    assert_eq!(outcomes(&rejected), [(422, "validation-failed")]);
    let valid = [
        json!("x"),
        json!("x".repeat(255)),
        json!("!~\"quoted\""),
        Value::Null,
    ];
    let valid = valid.map(|key| json!({"product_id": "a", "quantity": 1, "idempotency_key": key}));
    for _ in 0..2 {
        let results = results(&post_batch(&server, &valid).await);
        assert_eq!(outcomes(&results), [(201, ""); 4]);
        // Null is no key.
        assert!(!is_replay(&results[3]));
    }
    // A single request has its key in the header.
    assert_eq!(server.post(&keyed("a", "k")).await.status(), 422);
}

async fn processes_that_send_the_same_keys_create_each_order_once(database: Database) {
    let one = Server::start(&database, &[]).await;
    let two = Server::start(&database, &[]).await;
    const BATCHES: usize = 8;
    let forward = with_keys(100);
    let backward: Vec<_> = forward.iter().rev().cloned().collect();
    let requests = (0..BATCHES).flat_map(|_| [(&one, &forward), (&two, &backward)]);
    let responses =
        join_all(requests.map(async |(server, batch)| post_batch(server, batch).await)).await;
    let mut created: HashMap<String, usize> = HashMap::new();
    let mut orders: HashSet<String> = HashSet::new();
    for response in &responses {
        for result in results(response) {
            assert_eq!(result["status"], 201, "{result}");
            let product = result["order"]["product_id"].as_str().unwrap().to_owned();
            *created.entry(product).or_default() += usize::from(!is_replay(&result));
            orders.insert(result["order"].to_string());
        }
    }
    assert_eq!(orders.len(), 100);
    assert!(created.values().all(|count| *count == 1), "{created:?}");
    assert_eq!(database.count("orders").await, 100);
    assert_eq!(database.count("events").await, 100);
    if database.is_postgres() {
        assert_eq!(database.number(DEADLOCKS).await, 0);
    }
}

async fn keys_belong_to_the_tenant(database: Database) {
    let tenants = ["acme", "other"];
    let scopes: &[&str] = &["orders:read", "orders:write", "events:read"];
    let file = AuthFile::with_keys(&tenants.map(|tenant| (tenant, scopes, tenant)));
    let server = Server::start(&database, &[("AUTH_FILE", &file.path())]).await;
    let send = async |tenant: &str| {
        let request = batch_request(&server, &with_keys(20));
        let request = request.header("authorization", bearer(&api_key(tenant)));
        results(&request.send().await.unwrap())
    };
    // The orders of both tenants are written by the same statements.
    let rounds = join_all([0, 1, 0, 1].map(|tenant| send(tenants[tenant]))).await;
    let ids = |round: &Vec<Value>| -> HashSet<String> {
        round
            .iter()
            .map(|result| order_id(&result["order"]).to_owned())
            .collect()
    };
    assert_eq!(ids(&rounds[0]), ids(&rounds[2]));
    assert_eq!(ids(&rounds[1]), ids(&rounds[3]));
    assert!(ids(&rounds[0]).is_disjoint(&ids(&rounds[1])));
    for (tenant, round) in tenants.iter().zip(&rounds) {
        let credential = api_key(tenant);
        let list: Vec<Value> = server.get_with(&credential, "/api/v1/orders").await.json();
        assert_eq!(
            list.iter()
                .map(|order| order_id(order).to_owned())
                .collect::<HashSet<_>>(),
            ids(round)
        );
        // On PostgreSQL, events wait for older transactions of the whole cluster.
        eventually(
            "the feed has the events",
            Duration::from_secs(10),
            async || {
                let events: Vec<Value> =
                    server.get_with(&credential, "/api/v1/events").await.json();
                assert!(events.iter().all(|event| event["authid"] == *tenant));
                events.len() == 20
            },
        )
        .await;
    }
}

/// An order with an external id.
fn referenced(product_id: &str, external_id: &str) -> Value {
    let mut order = order(product_id);
    order["external_id"] = external_id.into();
    order
}

async fn external_ids_are_those_of_single_requests(database: Database) {
    let server = Server::start(&database, &[]).await;
    let single: Value = server.post(&referenced("a", "single")).await.json();
    let mut keyed = referenced("a", "keyed");
    keyed["idempotency_key"] = "k".into();
    let batch = [
        referenced("a", "single"),
        referenced("a", "new"),
        referenced("b", "new"),
        keyed.clone(),
        keyed,
        order("last"),
    ];
    let results = results(&post_batch(&server, &batch).await);
    let taken = (409, "external-id-taken");
    let mut news = [&results[1], &results[2]];
    news.sort_by_key(|result| result["status"].as_u64());
    let mut keyed = [&results[3], &results[4]];
    keyed.sort_by_key(|result| is_replay(result));
    let sorted = [
        &results[0],
        news[0],
        news[1],
        keyed[0],
        keyed[1],
        &results[5],
    ]
    .map(Value::clone);
    let (created, all) = ((201, ""), outcomes(&sorted));
    assert_eq!(all, [taken, created, taken, created, created, created]);
    assert_eq!(results[0]["problem"]["order_id"], single["id"]);
    assert_eq!(news[1]["problem"]["order_id"], news[0]["order"]["id"]);
    assert_eq!(keyed.map(is_replay), [false, true]);
    assert_eq!(database.count("orders").await, 4);
    assert_eq!(database.count("events").await, 4);
    let holder = problem(server.post(&referenced("c", "new")).await);
    assert_eq!(holder["order_id"], news[0]["order"]["id"]);
}

async fn processes_that_send_the_same_external_ids_create_each_order_once(database: Database) {
    let one = Server::start(&database, &[]).await;
    let two = Server::start(&database, &[]).await;
    let forward: Vec<_> = (0..100)
        .map(|i| referenced("a", &format!("ref-{i}")))
        .collect();
    let backward: Vec<_> = forward.iter().rev().cloned().collect();
    let requests = (0..4).flat_map(|_| [(&one, &forward), (&two, &backward)]);
    let responses =
        join_all(requests.map(async |(server, batch)| post_batch(server, batch).await)).await;
    let mut created: HashSet<String> = HashSet::new();
    let mut holders: HashSet<String> = HashSet::new();
    for response in &responses {
        let results = results(response);
        for (result, (status, kind)) in results.iter().zip(outcomes(&results)) {
            if status == 201 {
                assert!(created.insert(order_id(&result["order"]).to_owned()));
            } else {
                assert_eq!((status, kind), (409, "external-id-taken"));
                holders.insert(result["problem"]["order_id"].as_str().unwrap().to_owned());
            }
        }
    }
    assert_eq!(created.len(), 100);
    assert_eq!(holders, created);
    assert_eq!(database.count("orders").await, 100);
    if database.is_postgres() {
        assert_eq!(database.number(DEADLOCKS).await, 0);
    }
}

/// For each key, several orders compete with those of the key before for their external ids. On PostgreSQL, each round
/// of statements decides only a few of them.
async fn orders_that_compete_for_keys_and_external_ids_do_not_fail_others(database: Database) {
    let server = Server::start(&database, &[]).await;
    for keys in [4, 9, 13] {
        let external_id = |order: &mut Value, i: usize| {
            order["external_id"] = format!("compete-{keys}-{i}").into();
        };
        let mut batch = vec![order("first")];
        external_id(&mut batch[0], 0);
        for key in 1..keys {
            for i in 0..=key {
                let mut competing = keyed("competing", &format!("{keys}-{key}"));
                external_id(&mut competing, i);
                batch.push(competing);
            }
        }
        let before = database.count("orders").await;
        let others = join_all((0..20).map(|_| server.create("other")));
        let (response, _) = tokio::join!(post_batch(&server, &batch), others);
        let results = results(&response);
        let outcomes = outcomes(&results);
        // Which of them are created depends on the statements that serve them.
        let sent = batch.iter().zip(&outcomes);
        let created: Vec<&Value> = sent
            .clone()
            .filter(|(_, (status, _))| *status == 201)
            .map(|(order, _)| order)
            .collect();
        for (order, (status, _)) in sent {
            let same = |member: &str| {
                let of_created = created
                    .iter()
                    .filter(|created| created[member] == order[member]);
                of_created
                    .filter(|created| !created[member].is_null())
                    .count()
            };
            let (by_external_id, by_key) = (same("external_id"), same("idempotency_key"));
            assert!(by_external_id <= 1 && by_key <= 1, "{order} {outcomes:?}");
            assert!(by_external_id + by_key >= 1, "{order} {outcomes:?}");
            assert!(*status == 201 || *status == 409 || *status == 422);
        }
        let kinds = ["", "external-id-taken", "idempotency-key-reused"];
        assert!(
            outcomes.iter().all(|(_, kind)| kinds.contains(kind)),
            "{outcomes:?}"
        );
        let stored = usize::try_from(database.count("orders").await - before).unwrap();
        assert_eq!(stored, created.len() + 20);
    }
}
