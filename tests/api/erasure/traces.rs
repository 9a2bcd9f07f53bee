//! After an erasure, no trace of the personal data is left: in no row, no statistics, no dump, no file, no log.
//!
//! The write-ahead log keeps what was written until its files are recycled, and is not searched.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::{erase, expect_consistent};
use crate::support::auth_file::{AuthFile, api_key, bearer};
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::orders::order_path;
use crate::support::random::Random;
use crate::support::server::Server;

/// Random texts, which occur nowhere else, and of which even a part is recognized. Long ones are stored outside of their
/// rows; they are not compressed, because they are random.
struct Personal {
    texts: Vec<String>,
    random: Random,
}

impl Personal {
    fn random(&mut self, alphabet: &[u8], characters: usize) -> String {
        let length = u64::try_from(alphabet.len()).unwrap();
        let character = |random: &mut Random| {
            char::from(alphabet[usize::try_from(random.below(length)).unwrap()])
        };
        let text: String = (0..characters)
            .map(|_| character(&mut self.random))
            .collect();
        self.texts.push(text.clone());
        text
    }

    fn text(&mut self, characters: usize) -> String {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        self.random(alphabet, characters)
    }

    fn traceparent(&mut self) -> String {
        let trace = self.random(b"123456789abcdef", 32);
        let span = self.random(b"123456789abcdef", 16);
        format!("00-{trace}-{span}-01")
    }
}

/// Creates orders of a customer and of others, updates them, and erases the customer. Returns the customer's data, and
/// the log of the service.
async fn erased(database: &Database) -> (Vec<String>, Vec<String>) {
    const ORDERS: usize = 120;
    let mut personal = Personal {
        texts: Vec::new(),
        random: Random::seeded(),
    };
    let mut others = Personal {
        texts: Vec::new(),
        random: Random::seeded(),
    };
    let customer_id = personal.text(20);
    // The customer makes its own orders.
    let subject = personal.random(b"abcdefghijklmnopqrstuvwxyz0123456789", 30);
    let writer = ["orders:read", "orders:write", "events:read"];
    let file = AuthFile::with_keys(&[
        (&subject, &writer, "default"),
        ("privacy", &["admin"], "default"),
    ]);
    let authorization = bearer(&api_key(&subject));
    let variables = [
        ("AUTH_FILE", &*file.path()),
        ("AUTH_ANONYMOUS", "all"),
        ("MAX_BODY_BYTES", "200000"),
        ("RUST_LOG", "order_service=trace,info"),
    ];
    let mut server = Server::start(database, &variables).await;
    for i in 0..ORDERS {
        let trace = personal.traceparent();
        let mut body = json!({
            "product_id": "sku-1", "quantity": 1, "customer_id": customer_id,
            "external_id": personal.text(20),
            "metadata": {"short": personal.text(9)},
        });
        let values = if i % 10 == 0 { 48 } else { 0 };
        for value in 0..values {
            body["metadata"][format!("k{value}")] = personal.text(490).into();
        }
        let key = personal.text(30);
        let post = server.client.post(server.url("/api/v1/orders")).json(&body);
        let post = post
            .header("idempotency-key", &key)
            .header("traceparent", &trace);
        let post = post.header("authorization", &authorization);
        let created = post.send().await.unwrap();
        assert_eq!(created.status(), 201);
        let path = server.url(&order_path(&created.json()));
        for patch in [
            json!({"metadata": {"short": personal.text(400), "late": personal.text(9)}}),
            json!({"status": "confirmed"}),
        ] {
            let patch = server
                .client
                .patch(&path)
                .json(&patch)
                .header("traceparent", &trace);
            let patch = patch.header("authorization", &authorization);
            assert_eq!(patch.send().await.unwrap().status(), 200);
        }
        // The rows of others lie between those of the customer, and move them from page to page.
        for _ in 0..4 {
            let length = usize::try_from(others.random.below(128)).unwrap() + 1;
            let other = json!({
                "product_id": "sku-1", "quantity": 1,
                "customer_id": format!("{}{length}", others.text(length.min(120))),
                "external_id": format!("{}{length}", others.text(length.min(120))),
                "metadata": {"note": others.text(3 * length)},
            });
            assert!(server.post(&other).await.status() < 500);
        }
    }
    // The customer appears in this request, and its data in the response.
    let list = server
        .get(&format!("/api/v1/orders?customer_id={customer_id}&limit=1"))
        .await;
    assert_eq!(list.json::<Vec<serde_json::Value>>().len(), 1);
    let found = found_in_database(database, &personal.texts);
    // Keys are stored as hashes only, and each order has one.
    assert!(
        found > personal.texts.len() * 2 / 3,
        "the search finds what is there"
    );
    let erasure = erase(&server, &customer_id).await;
    assert_eq!(erasure["orders"], ORDERS);
    server.signal(libc::SIGTERM);
    server
        .wait_for_exit(std::time::Duration::from_secs(20))
        .await;
    expect_consistent(database).await;
    (personal.texts, server.lines())
}

/// How many of the texts are in a row of a table.
fn found_in_database(database: &Database, texts: &[String]) -> usize {
    let dump = dump(database);
    texts
        .iter()
        .filter(|text| dump.contains(text.as_str()))
        .count()
}

/// All rows of all tables.
fn dump(database: &Database) -> String {
    let out = if database.is_postgres() {
        Command::new("pg_dump")
            .arg(database.url())
            .output()
            .unwrap()
    } else {
        Command::new("sqlite3")
            .arg(database.file())
            .arg(".dump")
            .output()
            .unwrap()
    };
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

/// Every file below a directory, without the write-ahead log.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("pg_wal") {
                dirs.push(path);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    found
}

/// The length of the parts of texts that count as a trace.
const PART: usize = 8;

/// Fails if a file has a part of one of the texts.
fn expect_none_in(files: &[PathBuf], texts: &[String]) {
    let mut parts: HashMap<&[u8], &str> = HashMap::new();
    // Nearly all places of a file are excluded by a look at a table, which is faster than the map.
    let mut candidates = vec![false; 1 << 16];
    let hash =
        |part: &[u8]| usize::from(part[0]) << 8 | usize::from(part[3] ^ part[5].rotate_left(4));
    for text in texts {
        for part in text.as_bytes().windows(PART) {
            parts.insert(part, text);
            candidates[hash(part)] = true;
        }
    }
    let mut searched = 0;
    for file in files {
        let bytes = std::fs::read(file).unwrap();
        searched += bytes.len();
        for (at, part) in bytes.windows(PART).enumerate() {
            if candidates[hash(part)] {
                let found = parts.get(part);
                assert_eq!(found, None, "{} at {at}", file.display());
            }
        }
    }
    assert!(searched > 50_000, "{searched} bytes");
}

fn expect_none_in_text(text: &str, texts: &[String], what: &str) {
    for personal in texts {
        if let Some(at) = text.find(personal.as_str()) {
            let context: String = text
                .get(at.saturating_sub(300)..at + 40)
                .unwrap_or_default()
                .to_owned();
            panic!("{personal} is in {what}: {context}");
        }
    }
}

/// The log has the principals of requests, as audits need it, so the id of an API key is expected there.
fn without_principals(lines: &[String]) -> String {
    let stripped = lines.iter().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        for named in ["principal", "traceparent"] {
            line.as_object_mut().unwrap().remove(named);
        }
        line.to_string()
    });
    stripped.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_in_postgresql() {
    let cluster =
        Cluster::start_with(&[("POSTGRES_CONF", "autovacuum = off\nwal_level = replica")]);
    let database = cluster.database().await;
    let (texts, log) = erased(&database).await;
    assert!(texts.len() > 1000);
    expect_none_in_text(&dump(&database), &texts, "the dump");
    let log = without_principals(&log);
    assert!(log.contains("/api/v1/customers/{customer_id}") && log.lines().count() > 100);
    expect_none_in_text(&log, &texts, "the log");
    // Statistics of all columns, after ANALYZE has read all rows.
    let client = database.client().await;
    client.batch_execute("ANALYZE").await.unwrap();
    let columns: Vec<String> = client
        .query(
            "SELECT tablename || '.' || attname FROM pg_stats WHERE attname IN ('customer_id', 'external_id', 'metadata',
                'data', 'document', 'traceparent', 'authid', 'key_hash', 'request_hash', 'pseudonym')
                AND schemaname = 'public'",
            &[],
        )
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(columns, Vec::<String>::new());
    let statistics: i64 = client
        .query_one(
            "SELECT count(*) FROM pg_stats WHERE schemaname = 'public'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert!(statistics > 20, "other columns have statistics");
    let extended: i64 = client
        .query_one("SELECT count(*) FROM pg_statistic_ext", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(extended, 0);
    // Old versions of rows are in the files until VACUUM.
    client.batch_execute("VACUUM FULL").await.unwrap();
    client.batch_execute("CHECKPOINT").await.unwrap();
    drop(client);
    cluster.shut_down();
    expect_none_in(&files(&cluster.data()), &texts);
    cluster.start_again();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_in_sqlite() {
    let database = Database::sqlite();
    let (texts, log) = erased(&database).await;
    expect_none_in_text(&dump(&database), &texts, "the dump");
    expect_none_in_text(&without_principals(&log), &texts, "the log");
    let file = PathBuf::from(database.file());
    // The file, and what is beside it.
    expect_none_in(&files(file.parent().unwrap()), &texts);
}
