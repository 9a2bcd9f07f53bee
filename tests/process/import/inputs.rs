//! Inputs of every form, rejects, and exit codes.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{Imported, Input, assert_imported, line, ndjson, read_ndjson, small_orders};
use crate::support::binary::{command, migrate, run, run_on, stderr};
use crate::support::cluster::Cluster;
use crate::support::database::Database;

crate::on_both!(
    bad_lines_are_rejected_with_their_number_and_the_others_are_imported,
    line_ends_a_byte_order_mark_and_a_missing_last_line_end_are_harmless,
    standard_input_is_imported,
    a_dry_run_writes_nothing,
    a_schema_that_is_behind_is_an_error
);

async fn bad_lines_are_rejected_with_their_number_and_the_others_are_imported(database: Database) {
    migrate(&database);
    let too_long = format!("{{\"product_id\":\"{}\"}}", "x".repeat(2_000_000));
    let nested = "[".repeat(500_000);
    let good = line("good", 1).to_string();
    let lines: Vec<(&[u8], Option<&str>)> = vec![
        (good.as_bytes(), None),
        (b"{\"product_id\":\"a\xff\"}", Some("")),
        (b"\0", Some("")),
        (b"{\"product_id\":", Some("")),
        (b"null", Some("")),
        (b"   ", None),
        (too_long.as_bytes(), Some("")),
        (nested.as_bytes(), Some("")),
        (br#"{"product_id":"a","quantity":0,"created_at":"2020-01-01T00:00:00Z"}"#, Some("/quantity")),
        (br#"{"product_id":"a","quantity":1,"created_at":"2999-01-01T00:00:00Z"}"#, Some("/created_at")),
        (br#"{"product_id":"a","quantity":1}"#, Some("")),
        (br#"{"product_id":"a\u0000","quantity":1,"created_at":"2020-01-01T00:00:00Z"}"#, Some("/product_id")),
        (br#"{"product_id":"a","quantity":1,"created_at":"2020-01-01T00:00:00Z","metadata":{"a":"\u0000"}}"#, Some("/metadata/a")),
        (br#"{"product_id":"a","quantity":1,"created_at":"2020-01-01T00:00:00Z","status":"gone"}"#, Some("/status")),
        (br#"{"product_id":"a","quantity":1,"created_at":"2020-01-01T00:00:00Z","version":2147483647}"#, Some("/version")),
        (br#"{"product_id":"a","quantity":1,"created_at":"2020-01-01T00:00:00Z","colour":"red"}"#, Some("/colour")),
        (good.as_bytes(), None),
    ];
    let content: Vec<&[u8]> = lines.iter().map(|(line, _)| *line).collect();
    let input = Input::new(content.join(&b'\n'));
    let imported = input.import(&database);
    assert_eq!(imported.code(), 1, "{}", imported.stderr());
    assert!(imported.stderr().contains("orders.ndjson.rejects.ndjson"));
    let expected: Vec<_> = (1..)
        .zip(&lines)
        .filter_map(|(number, (_, pointer))| Some((number, (*pointer)?)))
        .collect();
    let rejects = input.rejects();
    let found: Vec<_> = rejects
        .iter()
        .map(|reject| {
            assert!(!reject["errors"][0]["detail"].as_str().unwrap().is_empty());
            let pointer = reject["errors"][0]["pointer"].as_str().unwrap();
            (reject["line"].as_u64().unwrap(), pointer)
        })
        .collect();
    assert_eq!(found, expected);
    // The same JSON, or a text.
    assert_eq!(rejects[0]["input"], "{\"product_id\":\"a\u{fffd}\"}");
    assert_eq!(rejects[7]["input"]["created_at"], "2999-01-01T00:00:00Z");
    assert!(rejects[4]["input"].as_str().unwrap().len() < 1_000);
    let mode = std::fs::metadata(input.rejects_path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let rejected = u64::try_from(expected.len()).unwrap();
    // The two equal lines are two orders.
    assert_eq!(imported.counts(), (2, 0, rejected));
    assert_imported(&database, 2).await;
    // A second run rejects the same lines, and the file has them once.
    let again = input.import(&database);
    assert_eq!(again.counts(), (0, 2, rejected));
    assert_eq!(input.rejects(), rejects);
    // A run without rejects leaves no file of an earlier one.
    input.write(format!("{good}\n"));
    let corrected = input.import(&database);
    assert_eq!((corrected.code(), corrected.counts()), (0, (0, 1, 0)));
    assert!(!input.rejects_path().exists());
}

async fn line_ends_a_byte_order_mark_and_a_missing_last_line_end_are_harmless(database: Database) {
    migrate(&database);
    let text = ndjson([line("a", 1), line("b", 2), line("c", 3)]);
    let lines: Vec<_> = text.lines().collect();
    let input = Input::new(format!("\u{feff}{}\r\n\r\n\n  \t\n{}", lines[0], lines[1]));
    let imported = input.import(&database);
    assert_eq!((imported.code(), imported.counts()), (0, (2, 0, 0)));
    // A last line that was cut off is a reject.
    let cut_off = lines[0].strip_suffix('}').unwrap();
    input.write(format!("{}\n{cut_off}", lines[2]));
    let imported = input.import(&database);
    assert_eq!((imported.code(), imported.counts()), (1, (1, 0, 1)));
    assert_eq!(input.rejects()[0]["line"], 2);
    input.write("");
    let imported = input.import(&database);
    assert_eq!((imported.code(), imported.counts()), (0, (0, 0, 0)));
    assert_imported(&database, 3).await;
}

/// Imports from standard input, with this working directory.
fn import_stdin(
    database: &Database,
    dir: &std::path::Path,
    text: &str,
    options: &[&str],
) -> Imported {
    let url = database.url();
    let mut child = command(
        &[&["import", "-"], options].concat(),
        &[("DATABASE_URL", &url)],
    )
    .current_dir(dir)
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    Imported(child.wait_with_output().unwrap())
}

async fn standard_input_is_imported(database: Database) {
    migrate(&database);
    let dir = tempfile::tempdir().unwrap();
    let text = small_orders(10) + "{}\n";
    let imported = import_stdin(&database, dir.path(), &text, &[]);
    assert_eq!((imported.code(), imported.counts()), (1, (10, 0, 1)));
    assert_eq!(
        read_ndjson(&dir.path().join("stdin.rejects.ndjson")).len(),
        1
    );
    let other = dir.path().join("other");
    let option = ["--rejects", other.to_str().unwrap()];
    let again = import_stdin(&database, dir.path(), &text, &option);
    assert_eq!((again.code(), again.counts()), (1, (0, 10, 1)));
    assert_eq!(read_ndjson(&other).len(), 1);
    assert_imported(&database, 10).await;
}

async fn a_dry_run_writes_nothing(database: Database) {
    migrate(&database);
    let input = Input::new(small_orders(10) + "{}\n");
    let checked = input.import_with(&database, &["--dry-run"]);
    let report = checked.report();
    assert_eq!(checked.code(), 1);
    assert_eq!(
        (&report["valid"], &report["rejected"]),
        (&json!(10), &json!(1))
    );
    assert_eq!(
        (&report["imported"], &report["read"]),
        (&json!(0), &json!(11))
    );
    assert_eq!(input.rejects().len(), 1);
    assert_eq!(database.count("orders").await, 0);
}

async fn a_schema_that_is_behind_is_an_error(database: Database) {
    database.create_empty();
    let imported = Input::of([line("a", 1)]).import(&database);
    assert_eq!(imported.code(), 1);
    assert!(
        imported.stderr().contains("create_orders"),
        "{}",
        imported.stderr()
    );
}

#[tokio::test]
async fn a_bad_argument_exits_with_2() {
    let database = Database::sqlite();
    migrate(&database);
    let input = Input::of([line("a", 1)]);
    let (path, dir) = (input.path(), input.dir.path().to_owned());
    let (path, dir) = (path.to_str().unwrap(), dir.to_str().unwrap());
    for args in [
        &["import"][..],
        &["import", "/no/such/file"],
        &["import", dir],
        &["import", path, "--tenant", "Upper"],
        &["import", path, "--retry", "soon"],
        &["import", path, "--rejects", path],
    ] {
        let out = run_on(&database.url(), args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", stderr(&out));
        assert!(
            !stderr(&out).is_empty() && out.stdout.is_empty(),
            "{args:?}"
        );
    }
    assert_eq!(read_ndjson(&input.path()).len(), 1);
    assert_eq!(database.count("orders").await, 0);
}

#[test]
fn a_database_that_cannot_be_reached_exits_with_3() {
    let cluster = Cluster::start();
    cluster.crash();
    let input = Input::of([line("a", 1)]);
    let path = input.path();
    let args = ["import", path.to_str().unwrap()];
    let out = run(&args, &[("DATABASE_URL", cluster.url.as_str())]);
    assert_eq!(out.status.code(), Some(3), "{}", stderr(&out));
    // A dry run needs no database.
    let args = [&args[..], &["--dry-run"]].concat();
    let out = run(&args, &[("DATABASE_URL", cluster.url.as_str())]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
}

#[tokio::test]
async fn rejects_that_cannot_be_written_stop_the_import() {
    let database = Database::sqlite();
    migrate(&database);
    let input = Input::of([line("a", 1), json!({})]);
    let imported = input.import_with(&database, &["--rejects", "/no/such/directory/rejects"]);
    assert_eq!(imported.code(), 1);
    assert!(
        imported.stderr().contains("/no/such/directory"),
        "{}",
        imported.stderr()
    );
    assert_eq!(imported.report()["complete"], Value::Bool(false));
}
