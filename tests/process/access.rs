//! Access and the life of the process: settings, exit codes, and the command `api-key`.

use std::time::{Duration, Instant};

use crate::support::auth_file::AuthFile;
use crate::support::binary::{command, run, stderr};
use crate::support::cluster::Cluster;
use crate::support::server::Server;

/// The variables of a service on free ports.
const FREE: [(&str, &str); 3] = [
    ("DATABASE_URL", "sqlite::memory:"),
    ("BIND_ADDRESS", "0.0.0.0:0"),
    ("METRICS_ADDRESS", "0.0.0.0:0"),
];

#[test]
fn a_public_address_without_settings_of_access_exits_with_2() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"] {
        let out = run(&[], &[("BIND_ADDRESS", address)]);
        assert_eq!(out.status.code(), Some(2), "{address}");
        let text = stderr(&out);
        for name in ["BIND_ADDRESS", "AUTH_FILE", "AUTH_ANONYMOUS"] {
            assert!(text.contains(name), "{text}");
        }
    }
    // An empty variable is not set.
    let empty = [&FREE[..], &[("AUTH_FILE", ""), ("AUTH_ANONYMOUS", "")]].concat();
    assert_eq!(run(&[], &empty).status.code(), Some(2));
}

#[tokio::test]
async fn a_public_address_starts_with_either_setting_and_warns() {
    let file = AuthFile::with_keys(&[("reader", &["orders:read"], "default")]);
    let path = file.path();
    for (variables, plain_http, anonymous) in [
        (vec![("AUTH_ANONYMOUS", "none")], false, false),
        (vec![("AUTH_ANONYMOUS", "all")], false, true),
        (vec![("AUTH_FILE", path.as_str())], true, false),
    ] {
        let server = Server::spawn(&[&FREE[..], &variables].concat()).await;
        let warns = |text: &str| {
            let logs = server.logs();
            let mut warnings = logs.iter().filter(|line| line["level"] == "WARN");
            warnings.any(|line| line["msg"].as_str().unwrap().contains(text))
        };
        assert_eq!(warns("plain HTTP"), plain_http, "{variables:?}");
        assert_eq!(warns("without credentials"), anonymous, "{variables:?}");
    }
    let local = Server::on_sqlite(&[("AUTH_FILE", &path)]).await;
    assert!(local.logs().iter().all(|line| line["level"] != "WARN"));
}

#[tokio::test]
async fn the_start_is_logged_with_the_settings_of_access() {
    let file = AuthFile::with_keys(&[("reader", &["orders:read"], "default")]);
    let path = file.path();
    for (variables, expected_file, anonymous) in [
        (vec![], "", "all, from this host only"),
        (
            vec![("AUTH_ANONYMOUS", "events:read,orders:read")],
            "",
            "orders:read,events:read",
        ),
        (vec![("AUTH_FILE", path.as_str())], path.as_str(), "none"),
    ] {
        let server = Server::on_sqlite(&variables).await;
        let logs = server.logs();
        let start = logs.iter().find(|line| line["msg"] == "starting").unwrap();
        assert_eq!(start["auth_file"], expected_file);
        assert_eq!(start["auth_anonymous"], anonymous);
    }
}

#[test]
fn a_bad_file_exits_with_2_and_names_the_place() {
    let bad = "[[api_key]]\nid = \"a\"\nsha256 = \"0\"\nscopes = [\"admin\"]\n";
    for (text, place) in [
        ("", "neither"),
        ("[[api_key]]\nid = \"a\"\nsecret = \"x\"\n", "line 3"),
        ("[[api_key]]\nid = 7\n", "line 2"),
        ("x = ", "line 1"),
        (bad, "sha256"),
    ] {
        let file = AuthFile::new(text);
        let start = Instant::now();
        // The database does not respond, and must not be waited for.
        let out = run(
            &[],
            &[
                ("AUTH_FILE", &file.path()),
                ("DATABASE_URL", "postgres://192.0.2.1/orders"),
                ("MIGRATE_ON_START", "true"),
                ("BIND_ADDRESS", "127.0.0.1:0"),
            ],
        );
        let message = stderr(&out);
        assert_eq!(out.status.code(), Some(2), "{message}");
        assert!(
            message.contains("AUTH_FILE") && message.contains(place),
            "{message}"
        );
        assert!(start.elapsed() < Duration::from_secs(3));
    }
    let missing = run(&[], &[("AUTH_FILE", "/no/such/file")]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("/no/such/file"));
}

#[tokio::test]
async fn the_entry_of_a_new_key_accepts_the_key() {
    let args = [
        "api-key",
        "--id",
        "warehouse",
        "--scopes",
        "orders:read,events:read",
        "--tenant",
        "acme",
        "--expires",
        "2100-01-01T01:00:00+01:00",
    ];
    let out = run(&args, &[]);
    assert!(out.status.success(), "{out:?}");
    let entry = String::from_utf8(out.stdout).unwrap();
    let key = String::from_utf8(out.stderr).unwrap();
    let key = key.strip_suffix('\n').unwrap();
    let secret = key.strip_prefix("osk_warehouse_").unwrap();
    assert!(secret.len() == 64 && secret.bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert!(!entry.contains(secret), "{entry}");
    assert!(entry.contains("expires = 2100-01-01T00:00:00Z"), "{entry}");
    let again = run(&args, &[]);
    assert!(!String::from_utf8(again.stderr).unwrap().contains(secret));

    let file = AuthFile::new(&entry);
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    assert_eq!(server.get_with(key, "/api/v1/orders").await.status(), 200);
    assert_eq!(server.get_with(key, "/api/v1/events").await.status(), 200);
}

#[test]
fn a_bad_option_of_a_new_key_exits_with_2() {
    let good = ["api-key", "--id", "a", "--scopes", "admin"];
    assert!(run(&good, &[]).status.success());
    for (option, value) in [
        ("--id", "A"),
        ("--id", ""),
        ("--scopes", "orders"),
        ("--scopes", ""),
        ("--tenant", "ACME"),
        ("--expires", "2027-01-01"),
        ("--expires", "tomorrow"),
        ("--expires", "2020-01-01T00:00:00Z"),
        ("--expires", "9999-12-31T23:59:59-23:59"),
    ] {
        let mut args: Vec<_> = good.to_vec();
        match args.iter().position(|arg| *arg == option) {
            Some(at) => args[at + 1] = value,
            None => args.extend([option, value]),
        }
        let out = run(&args, &[]);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(stderr(&out).contains(option), "{}", stderr(&out));
        assert!(out.stdout.is_empty());
    }
    assert_eq!(run(&good[..3], &[]).status.code(), Some(2));
}

#[test]
fn a_key_that_cannot_be_printed_is_an_error() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut child = command(&["api-key", "--id", "a", "--scopes", "admin"], &[]);
    let status = child
        .stderr(full)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_key_whose_entry_cannot_be_printed_is_not_shown() {
    let full = std::fs::File::options().write(true).open("/dev/full");
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    for stdout in [
        std::process::Stdio::from(full.unwrap()),
        std::process::Stdio::from(closed),
    ] {
        let mut child = command(&["api-key", "--id", "a", "--scopes", "admin"], &[]);
        let out = child.stdout(stdout).output().unwrap();
        assert_eq!(out.status.code(), Some(1));
        let text = stderr(&out);
        assert!(
            text.contains("standard output") && !text.contains("osk_"),
            "{text}"
        );
    }
}

#[test]
fn a_file_that_is_a_fifo_exits_with_2_at_once() {
    let file = AuthFile::new("");
    let fifo = file.beside("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let start = Instant::now();
    let out = run(
        &[],
        &[
            ("AUTH_FILE", fifo.to_str().unwrap()),
            ("DATABASE_URL", "sqlite::memory:"),
            ("BIND_ADDRESS", "127.0.0.1:0"),
            ("METRICS_ADDRESS", "127.0.0.1:0"),
        ],
    );
    assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
    assert!(stderr(&out).contains("not a regular file"));
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn commands_exit_with_3_when_the_database_cannot_be_reached() {
    let cluster = Cluster::start();
    cluster.crash();
    let url = ("DATABASE_URL", cluster.url.as_str());
    for args in [&["migrate"][..], &["migrate", "--check"]] {
        let out = run(args, &[url]);
        assert_eq!(out.status.code(), Some(3), "{args:?} {}", stderr(&out));
    }
    let serve = run(
        &[],
        &[
            url,
            ("MIGRATE_ON_START", "true"),
            ("BIND_ADDRESS", "127.0.0.1:0"),
            ("METRICS_ADDRESS", "127.0.0.1:0"),
        ],
    );
    assert_eq!(serve.status.code(), Some(3), "{}", stderr(&serve));
    let no_directory = run(
        &["migrate"],
        &[("DATABASE_URL", "sqlite:///no/such/orders.db")],
    );
    assert_eq!(
        no_directory.status.code(),
        Some(3),
        "{}",
        stderr(&no_directory)
    );
}
