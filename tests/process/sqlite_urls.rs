//! URLs of SQLite databases.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::support::binary::{command, run_on, stderr};
use crate::support::orders::{order, order_path};
use crate::support::server::Server;

fn migrate(url: &str) -> Output {
    run_on(url, &["migrate"])
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
fn a_url_names_exactly_its_file_or_is_rejected() {
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
async fn a_database_opened_read_only_is_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/orders.db", dir.path().display());
    let without_file = migrate(&format!("{url}?mode=ro"));
    assert_eq!(without_file.status.code(), Some(3));
    assert!(
        stderr(&without_file).contains("there is no file"),
        "{without_file:?}"
    );
    assert!(!migrate(&format!("{url}?mode=rw")).status.success());
    assert!(names(dir.path()).is_empty());
    let server = Server::spawn(&[("DATABASE_URL", &url)]).await;
    let created = server.create("sku-1").await;
    let variables = [
        ("DATABASE_URL", &*format!("{url}?mode=ro")),
        ("MIGRATE_ON_START", "false"),
    ];
    let reader = Server::spawn(&variables).await;
    let path = order_path(&created);
    assert_eq!(reader.status(&path).await, 200);
    assert!(reader.post(&order("sku-2")).await.status() >= 500);
    server.create("sku-3").await;
}

#[test]
fn a_path_that_cannot_be_written_exits_with_3_and_is_named() {
    // As another user, because root may write everywhere.
    let start_unprivileged = |dir: &TempDir, url: &str| {
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
        assert_eq!(out.status.code(), Some(3), "{out:?}");
        assert!(stderr(&out).contains(named), "{out:?}");
    };
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/orders.db", dir.path().display());
    check(start_unprivileged(&dir, &url), "cannot be written");
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/orders.db", dir.path().display());
    assert!(migrate(&url).status.success());
    let file = dir.path().join("orders.db");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
    check(start_unprivileged(&dir, &url), "cannot be written");
    let missing = format!("{}/missing/orders.db", dir.path().display());
    check(
        start_unprivileged(&dir, &format!("sqlite://{missing}")),
        "there is no folder",
    );
    let folder = format!("sqlite://{}", dir.path().display());
    check(start_unprivileged(&dir, &folder), "is a folder");
}

#[test]
fn commands_that_use_a_database_do_not_create_one() {
    let input = tempfile::NamedTempFile::new().unwrap();
    let file = input.path().to_str().unwrap();
    for args in [&["audit"][..], &["maintain"], &["import", file]] {
        for mode in ["", "?mode=rwc", "?mode=rw"] {
            let dir = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}/orders.db{mode}", dir.path().display());
            let out = run_on(&url, args);
            assert_eq!(out.status.code(), Some(3), "{args:?}: {out:?}");
            assert!(stderr(&out).contains("there is no file"), "{out:?}");
            assert!(out.stdout.is_empty(), "{out:?}");
            assert_eq!(names(dir.path()), Vec::<String>::new(), "{args:?}");
        }
        let missing = "sqlite:///no/such/folder/orders.db";
        let out = run_on(missing, args);
        assert_eq!(out.status.code(), Some(3), "{args:?}: {out:?}");
        assert!(stderr(&out).contains("there is no folder"), "{out:?}");
    }
}

#[test]
fn commands_report_a_folder_without_permission() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/orders.db", dir.path().display());
    assert!(migrate(&url).status.success());
    let input = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(input.path(), PermissionsExt::from_mode(0o644)).unwrap();
    let file = input.path().to_str().unwrap();
    for mode in [0o000, 0o555] {
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
        for args in [&["audit"][..], &["maintain"], &["import", file]] {
            let mut command = command(args, &[("DATABASE_URL", &url)]);
            if is_root() {
                command.uid(65_534).gid(65_534);
            }
            let out = command.output().unwrap();
            assert_eq!(out.status.code(), Some(3), "{args:?}: {out:?}");
            assert!(stderr(&out).contains("Permission denied"), "{out:?}");
        }
    }
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(names(dir.path()), ["orders.db"]);
}

/// A file that is not a database can be reached.
#[test]
fn a_file_that_is_no_database_exits_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders.db");
    std::fs::write(&path, "This is a text, and not a database.".repeat(100)).unwrap();
    let out = run_on(&format!("sqlite://{}", path.display()), &["audit"]);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    assert!(stderr(&out).contains("not a database"), "{out:?}");
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().metadata().unwrap().uid() == 0
}
