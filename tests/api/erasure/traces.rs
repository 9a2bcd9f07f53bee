//! After an erasure, no trace of the personal data is left: in no row, no statistics, no dump, no file, no log.
//!
//! The write-ahead log keeps what was written until its files are recycled, and is not searched.

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

/// Texts that occur nowhere else. A long one is stored outside of its row, compressed if that is possible, so it is a
/// random text, which cannot be compressed.
struct Personal {
    texts: Vec<String>,
    random: Random,
}

impl Personal {
    fn text(&mut self, characters: usize) -> String {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let character = |random: &mut Random| {
            let index = usize::try_from(random.below(64)).unwrap();
            char::from(alphabet[index])
        };
        let text: String = (0..characters)
            .map(|_| character(&mut self.random))
            .collect();
        let text = format!("PII{text}");
        self.texts.push(text.clone());
        text
    }
}

/// Creates orders of a customer, updates them, and erases the customer. Returns the customer's data.
async fn erased(database: &Database) -> (Vec<String>, Vec<String>) {
    let mut personal = Personal {
        texts: Vec::new(),
        random: Random::seeded(),
    };
    let customer_id = personal.text(12);
    // The customer makes its own orders. Keys and requests are the same as those of others, except for personal data.
    let subject = format!("{}-subject", customer_id.to_lowercase());
    personal.texts.push(subject.replace('_', "-"));
    let subject = subject.replace('_', "-");
    let file = AuthFile::with_keys(&[
        (
            &subject,
            &["orders:read", "orders:write", "events:read"],
            "default",
        ),
        ("privacy", &["admin"], "default"),
    ]);
    let variables = [
        ("AUTH_FILE", &*file.path()),
        ("AUTH_ANONYMOUS", "all"),
        ("MAX_BODY_BYTES", "200000"),
        ("RUST_LOG", "order_service=trace,info"),
    ];
    let mut server = Server::start(database, &variables).await;
    for i in 0..25 {
        let trace = format!("00-{:032x}-{:016x}-01", u128::MAX / 3 - i, u64::MAX / 5);
        personal.texts.push(trace.clone());
        let mut body = json!({
            "product_id": "sku-1", "quantity": 1, "customer_id": customer_id,
            "external_id": personal.text(20),
            "metadata": {"short": personal.text(5)},
        });
        let values = if i % 5 == 0 { 48 } else { 0 };
        for value in 0..values {
            body["metadata"][format!("k{value}")] = personal.text(490).into();
        }
        let key = personal.text(30);
        let post = server.client.post(server.url("/api/v1/orders")).json(&body);
        let post = post
            .header("idempotency-key", &key)
            .header("traceparent", &trace);
        let post = post.header("authorization", bearer(&api_key(&subject)));
        let created = post.send().await.unwrap();
        assert_eq!(created.status(), 201);
        let path = server.url(&order_path(&created.json()));
        for patch in [
            json!({"metadata": {"short": personal.text(400), "late": personal.text(3)}}),
            json!({"status": "confirmed"}),
        ] {
            let patch = server
                .client
                .patch(&path)
                .json(&patch)
                .header("traceparent", &trace);
            let patch = patch.header("authorization", bearer(&api_key(&subject)));
            assert_eq!(patch.send().await.unwrap().status(), 200);
        }
    }
    // Orders of others move rows between pages.
    for i in 0..60 {
        let other =
            json!({"product_id": "sku-1", "quantity": 1, "customer_id": format!("other-{i}")});
        assert_eq!(server.post(&other).await.status(), 201);
    }
    // The customer appears in these requests, and its data in the responses.
    let list = server
        .get(&format!("/api/v1/orders?customer_id={customer_id}"))
        .await;
    assert_eq!(list.status(), 200);
    assert!(list.text().contains(&personal.texts[5]));
    assert!(
        found_in_database(database, &personal.texts).await > 50,
        "the search finds what is there"
    );
    let erasure = erase(&server, &customer_id).await;
    assert_eq!(erasure["orders"], 25);
    server.signal(libc::SIGTERM);
    server
        .wait_for_exit(std::time::Duration::from_secs(20))
        .await;
    expect_consistent(database).await;
    (personal.texts, server.lines())
}

/// How many of the texts are in a row of a table.
async fn found_in_database(database: &Database, texts: &[String]) -> usize {
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

/// Fails if a file has one of the texts.
fn expect_none_in(files: &[PathBuf], texts: &[String]) {
    // All texts of the customer begin like this, so one search finds candidates.
    let mut searched = 0;
    for file in files {
        let bytes = std::fs::read(file).unwrap();
        searched += bytes.len();
        for prefix in ["PII", "pii", "00-5555"] {
            for at in memchr_all(&bytes, prefix.as_bytes()) {
                let found = texts
                    .iter()
                    .find(|text| bytes[at..].starts_with(text.as_bytes()));
                assert_eq!(found, None, "{} at {at}", file.display());
                // A part of a text is also a trace.
                let text =
                    String::from_utf8_lossy(&bytes[at..bytes.len().min(at + 12)]).into_owned();
                let part = texts
                    .iter()
                    .find(|personal| personal.starts_with(text.get(..8).unwrap_or("PII")));
                assert_eq!(part, None, "{text} in {} at {at}", file.display());
            }
        }
    }
    assert!(searched > 50_000, "{searched} bytes");
}

fn memchr_all(bytes: &[u8], part: &[u8]) -> Vec<usize> {
    bytes
        .windows(part.len())
        .enumerate()
        .filter(|(_, window)| *window == part)
        .map(|(at, _)| at)
        .collect()
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
    assert!(texts.len() > 300);
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
