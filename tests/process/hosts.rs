//! Database URLs with several hosts, some of which cannot be used.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::binary::{run, run_on, stderr};
use crate::support::certificates::write_data_file;
use crate::support::cluster::Cluster;
use crate::support::database::{Database, connect};
use crate::support::server::Server;

/// A host that accepts connections and sends nothing: the kernel accepts them.
struct SilentHost(TcpListener);

impl SilentHost {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }
}

/// The URL with another host in front of its own.
fn with_first_host(url: &str, host: &str, parameters: &str) -> String {
    format!(
        "{}?{parameters}",
        url.replacen('@', &format!("@{host},"), 1)
    )
}

/// Host and port of a URL.
fn authority(url: &str) -> &str {
    let (_, rest) = url.split_once('@').unwrap();
    rest.split_once('/').unwrap().0
}

#[tokio::test]
async fn a_silent_first_host_does_not_prevent_a_connection_to_the_second() {
    let (database, silent) = (Database::postgres().await, SilentHost::new());
    let host = format!("127.0.0.1:{}", silent.port());
    // A short timeout, the default, a timeout that is longer than the share of the host, and no TLS.
    for (parameters, limit) in [
        ("connect_timeout=1", 2),
        ("", 4),
        ("connect_timeout=60", 4),
        ("sslmode=disable", 4),
    ] {
        let url = with_first_host(&database.url(), &host, parameters);
        let start = Instant::now();
        let out = run_on(&url, &["migrate"]);
        assert!(out.status.success(), "{parameters}: {out:?}");
        let taken = start.elapsed();
        assert!(
            taken < Duration::from_secs(limit),
            "{parameters}: {taken:?}"
        );
    }
    let url = with_first_host(&database.url(), &host, "");
    let server = Server::spawn(&[("DATABASE_URL", &url), ("POOL_MIN_IDLE", "0")]).await;
    server.create("sku-1").await;
}

#[tokio::test]
async fn when_no_host_accepts_a_session_the_error_names_each_with_its_reason() {
    let silent = SilentHost::new();
    let url = format!(
        "postgres://u:planted-secret@127.0.0.1:{},127.0.0.1:1,no-such-host.invalid/d",
        silent.port()
    );
    let start = Instant::now();
    let variables = [
        ("DATABASE_URL", url.as_str()),
        ("POOL_ACQUIRE_TIMEOUT", "2s"),
    ];
    let out = run(&["migrate"], &variables);
    assert_eq!(out.status.code(), Some(3));
    assert!(start.elapsed() < Duration::from_secs(4));
    let text = stderr(&out);
    let first = format!("127.0.0.1:{}", silent.port());
    for part in [
        &first,
        "no session within",
        "127.0.0.1:1",
        "no-such-host.invalid",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("planted"), "{text}");
}

#[tokio::test]
async fn servers_that_do_not_match_target_session_attrs_are_skipped() {
    let (cluster, read_only, standby) = (Cluster::start(), Cluster::start(), Cluster::start());
    let admin = connect(&read_only.url).await;
    let sql = "ALTER SYSTEM SET default_transaction_read_only = on";
    admin.batch_execute(sql).await.unwrap();
    drop(admin);
    write_data_file(&standby, "standby.signal", b"").await;
    for other in [&read_only, &standby] {
        other.crash();
        other.start_again();
    }
    let migrate = |first: &Cluster, second: &Cluster, wanted: &str| {
        let parameters = format!("target_session_attrs={wanted}");
        let url = with_first_host(&second.url, authority(&first.url), &parameters);
        run_on(&url, &["migrate"])
    };
    for (first, wanted) in [
        (&read_only, "read-write"),
        (&standby, "read-write"),
        (&standby, "primary"),
    ] {
        let out = migrate(first, &cluster, wanted);
        assert!(out.status.success(), "{wanted}: {out:?}");
    }
    // It is a primary that does not accept writes.
    let out = migrate(&read_only, &cluster, "primary");
    assert!(!out.status.success(), "{out:?}");
    // Only `cluster` has a schema; `found` says whether these attributes lead to it.
    for (first, second, wanted, found) in [
        (&cluster, &standby, "standby", false),
        (&cluster, &read_only, "read-only", false),
        (&cluster, &standby, "prefer-standby", false),
        (&cluster, &read_only, "prefer-standby", true),
        (&cluster, &standby, "any", true),
        (&standby, &cluster, "", false),
    ] {
        let parameters = format!("target_session_attrs={wanted}");
        let url = with_first_host(&second.url, authority(&first.url), &parameters);
        let out = run_on(&url, &["migrate", "--check"]);
        assert_eq!(out.status.success(), found, "{wanted}: {out:?}");
    }
    let url = format!("{}?target_session_attrs=primary", standby.url);
    let out = run_on(&url, &["migrate"]);
    let text = stderr(&out);
    assert!(text.contains("the server is a standby"), "{text}");
}

#[tokio::test]
async fn a_unix_socket_can_be_used() {
    let cluster = Cluster::start();
    let port = authority(&cluster.url)
        .split_once(':')
        .unwrap()
        .1
        .to_owned();
    let client = connect(&cluster.url).await;
    let row = client
        .query_one("SHOW unix_socket_directories", &[])
        .await
        .unwrap();
    let directory: String = row.get(0);
    for url in [
        format!(
            "postgres://postgres@{}:{port}/postgres",
            directory.replace('/', "%2F")
        ),
        format!("postgres:///postgres?user=postgres&host={directory}&port={port}&sslmode=require"),
    ] {
        let out = run_on(&url, &["migrate"]);
        assert!(out.status.success(), "{url}: {out:?}");
    }
}
