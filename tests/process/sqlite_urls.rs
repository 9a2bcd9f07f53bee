//! What the URL of an SQLite database may say.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::support::server::{Server, command, order, run};

fn migrate(url: &str) -> Output {
    run(&["migrate"], &[("DATABASE_URL", url)])
}

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// The names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_url_names_exactly_the_file_it_says_or_is_refused() {
    for (written, name) in [
        ("orders.db", "orders.db"),
        ("100%25.db", "100%.db"),
        ("what%3F%23.db", "what?#.db"),
        ("a%20b c.db?mode=rwc", "a b c.db"),
        ("%2541.db", "%41.db"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let out = migrate(&format!("sqlite://{}/{written}", dir.path().display()));
        assert!(out.status.success(), "{written}: {out:?}");
        assert_eq!(names(dir.path()), [name]);
    }
    for written in [
        "orders.db?mode=memory",
        "orders.db?cache=shared",
        "orders.db?vfs=memdb",
        "100%.db",
        "a#b.db",
        "what?.db",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let out = migrate(&format!("sqlite://{}/{written}", dir.path().display()));
        assert_eq!(out.status.code(), Some(2), "{written}: {out:?}");
        assert!(stderr(&out).contains("DATABASE_URL takes"), "{out:?}");
        assert!(names(dir.path()).is_empty(), "{written}");
    }
}

#[tokio::test]
async fn a_database_opened_for_reading_is_read_and_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/orders.db", dir.path().display());
    let missing = migrate(&format!("{url}?mode=ro"));
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("there is no file"), "{missing:?}");
    assert!(!migrate(&format!("{url}?mode=rw")).status.success());
    assert!(names(dir.path()).is_empty());
    let server = Server::spawn(&[("DATABASE_URL", &url)]).await;
    let placed = server.place("sku-1").await;
    let variables = [
        ("DATABASE_URL", &*format!("{url}?mode=ro")),
        ("MIGRATE_ON_START", "false"),
    ];
    let reader = Server::spawn(&variables).await;
    let path = format!("/api/v1/orders/{}", placed["id"].as_str().unwrap());
    assert_eq!(reader.status(&path).await, 200);
    assert!(reader.post(&order("sku-2")).await.status() >= 500);
    server.place("sku-3").await;
}

#[test]
fn a_place_that_cannot_be_written_stops_the_start_with_1_and_is_named() {
    // The superuser may write everything.
    let somebody = |dir: &TempDir, url: &str| {
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o555)).unwrap();
        let mut command = command(
            &[],
            &[
                ("DATABASE_URL", url),
                ("MIGRATE_ON_START", "false"),
                ("BIND_ADDRESS", "127.0.0.1:0"),
                ("METRICS_ADDRESS", "127.0.0.1:0"),
            ],
        );
        if is_root() {
            command.uid(65_534).gid(65_534);
        }
        command.output().unwrap()
    };
    let check = |out: Output, named: &str| {
        assert_eq!(out.status.code(), Some(1), "{out:?}");
        assert!(stderr(&out).contains(named), "{out:?}");
    };
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/orders.db", dir.path().display());
    check(somebody(&dir, &url), "cannot be written");
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/orders.db", dir.path().display());
    assert!(migrate(&url).status.success());
    let file = dir.path().join("orders.db");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
    check(somebody(&dir, &url), "cannot be written");
    let nowhere = format!("{}/nowhere/orders.db", dir.path().display());
    check(
        somebody(&dir, &format!("sqlite://{nowhere}")),
        "there is no folder",
    );
    let folder = format!("sqlite://{}", dir.path().display());
    check(somebody(&dir, &folder), "is a folder");
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().metadata().unwrap().uid() == 0
}
