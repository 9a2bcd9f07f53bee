//! How an export ends, besides failures of the database.

use std::time::{Duration, SystemTime};

use super::{A_PART, LARGE, ORDERS, begin, cut_off_cause, exports, with_large_orders};
use crate::support::auth_file::{AuthFile, ISSUER, Issuer, api_key, bearer, entry, in_seconds};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::export::{End, Export, request};
use crate::support::orders::{large_order, order_id};
use crate::support::server::Server;

crate::on_both!(
    an_export_is_completed_during_the_drain,
    an_export_beyond_the_shutdown_timeout_ends_without_the_last_chunk,
);

async fn an_export_is_completed_during_the_drain(database: Database) {
    let mut server = with_large_orders(&database, &[]).await;
    let mut export = begin(&server).await;
    server.signal(libc::SIGTERM);
    eventually(
        "it no longer accepts connections",
        Duration::from_secs(5),
        async || {
            tokio::net::TcpStream::connect(server.address())
                .await
                .is_err()
        },
    )
    .await;
    for bytes in [A_PART + 200_000, A_PART + 400_000] {
        tokio::time::sleep(Duration::from_millis(500)).await;
        export.read_bytes(bytes).await;
    }
    let ended = export.end().await;
    assert_eq!(ended.complete().len(), LARGE);
    // The connection, which the client would keep, is closed.
    let mut rest = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut export.stream, &mut rest);
    let read = tokio::time::timeout(Duration::from_secs(5), read).await;
    assert_eq!(read.expect("the end of the connection").unwrap(), 0);
    let exit = server.wait_for_exit(Duration::from_secs(5)).await;
    assert_eq!(exit.code(), Some(0));
}

async fn an_export_beyond_the_shutdown_timeout_ends_without_the_last_chunk(database: Database) {
    let mut server = with_large_orders(&database, &[("SHUTDOWN_TIMEOUT", "1s")]).await;
    let mut export = begin(&server).await;
    server.signal(libc::SIGTERM);
    let exit = server.wait_for_exit(Duration::from_secs(15)).await;
    assert_eq!(exit.code(), Some(0));
    let cut = export.end().await;
    assert_ne!(cut.end, End::LastChunk);
    assert!(cut.lines().len() < LARGE);
}

/// Creates large orders with a credential.
async fn create_with(server: &Server, credential: &str) {
    for _ in 0..LARGE {
        let request = server.client.post(server.url(ORDERS));
        let request = request.header("authorization", bearer(credential));
        let created = request.json(&large_order(25)).send().await.unwrap();
        assert_eq!(created.status(), 201);
    }
}

/// Opens an export with a credential, and reads a part of it.
async fn begin_with(server: &Server, credential: &str, path: &str) -> Export {
    let authorization = format!("Authorization: {}\r\n", bearer(credential));
    let mut export = Export::send(server, &request(path, "1.1", &authorization)).await;
    export.read_bytes(A_PART).await;
    export
}

/// Reads an export whose credential is no longer accepted, and resumes it with another one.
async fn expect_cut_off(server: &Server, mut export: Export, other: &str) {
    let cut = export.end().await;
    assert_eq!((cut.status, cut.end), (200, End::Close));
    let mut orders = cut.orders();
    assert!((10..LARGE).contains(&orders.len()), "{}", orders.len());
    let last = order_id(orders.last().unwrap());
    let path = format!("{ORDERS}?starting_after={last}");
    let rest = begin_with(server, other, &path).await.end().await;
    rest.complete();
    orders.extend(rest.orders());
    assert_eq!(orders.len(), LARGE);
    let cause = cut_off_cause(server).await;
    assert_eq!(cause, "its credential is no longer accepted");
}

#[tokio::test]
async fn an_export_ends_without_the_last_chunk_when_its_key_is_removed() {
    let key = |id: &str| entry(&api_key(id), &["orders:read", "orders:write"], "default");
    let mut file = AuthFile::new(&(key("removed") + &key("kept")));
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    create_with(&server, &api_key("kept")).await;
    let removed = begin_with(&server, &api_key("removed"), ORDERS).await;
    let mut kept = begin_with(&server, &api_key("kept"), ORDERS).await;
    file.write(&key("kept"));
    eventually(
        "the key is not accepted",
        Duration::from_secs(15),
        async || server.get_with(&api_key("removed"), ORDERS).await.status() == 401,
    )
    .await;
    expect_cut_off(&server, removed, &api_key("kept")).await;
    assert_eq!(kept.end().await.complete().len(), LARGE);
}

#[tokio::test]
async fn an_export_ends_without_the_last_chunk_when_its_credential_expires() {
    let scopes: &[&str] = &["orders:read", "orders:write"];
    let issuer = Issuer::new("one");
    let mut file = AuthFile::new("");
    let jwks = file.beside("jwks.json");
    std::fs::write(&jwks, issuer.jwks().to_string()).unwrap();
    let write = |short: &str| {
        format!(
            "[[issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"order-service\"]\njwks_file = {jwks:?}\n{}{}{short}",
            entry(&api_key("long"), scopes, "default"),
            entry(&api_key("short"), scopes, "default"),
        )
    };
    file.write(&write(""));
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    create_with(&server, &api_key("long")).await;
    let at = SystemTime::now() + Duration::from_secs(13);
    let at = humantime::format_rfc3339_millis(at);
    file.write(&write(&format!("expires = {at}\n")));
    // The leeway of a token is 60 s.
    let claims = serde_json::json!({"sub": "shop", "scope": "orders:read", "exp": in_seconds(-48)});
    let token = issuer.token(claims);
    let of_key = begin_with(&server, &api_key("short"), ORDERS).await;
    let of_token = begin_with(&server, &token, ORDERS).await;
    eventually("both are expired", Duration::from_secs(20), async || {
        server.get_with(&api_key("short"), ORDERS).await.status() == 401
            && server.get_with(&token, ORDERS).await.status() == 401
    })
    .await;
    expect_cut_off(&server, of_key, &api_key("long")).await;
    expect_cut_off(&server, of_token, &api_key("long")).await;
}

#[tokio::test]
async fn a_client_that_closes_early_releases_its_permits() {
    let database = Database::sqlite();
    let server = with_large_orders(&database, &[]).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(begin(&server).await);
    }
    assert_eq!(exports(&server).await, 5);
    drop(open);
    eventually(
        "the exports have ended",
        Duration::from_secs(3),
        async || {
            exports(&server).await == 0
                && server.metric::<i64>("http_response_buffer_bytes").await == 0
        },
    )
    .await;
}

#[tokio::test]
async fn a_client_that_shuts_down_its_side_gets_the_whole_export() {
    let database = Database::sqlite();
    let server = with_large_orders(&database, &[]).await;
    let mut export = Export::open(&server, ORDERS).await;
    tokio::io::AsyncWriteExt::shutdown(&mut export.stream)
        .await
        .unwrap();
    assert_eq!(export.end().await.complete().len(), LARGE);
}

#[tokio::test]
async fn an_export_over_http_1_0_ends_with_the_connection_and_a_cut_resets_it() {
    let database = Database::sqlite();
    let server = with_large_orders(&database, &[("REQUEST_TIMEOUT", "1s")]).await;
    let open = async || {
        let mut export = Export::send(&server, &request(ORDERS, "1.0", "")).await;
        export.read_bytes(A_PART).await;
        export
    };
    let whole = open().await.end().await;
    assert!(!whole.head.contains("transfer-encoding"), "{}", whole.head);
    assert_eq!((whole.end, whole.orders().len()), (End::Close, LARGE));
    // The kernel sends the end of a complete response also to a client that is slow to read it.
    let mut slow = open().await;
    slow.read_bytes(whole.body.len() - 60_000).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let slow = slow.end().await;
    assert_eq!((slow.end, slow.orders().len()), (End::Close, LARGE));
    let mut cut = open().await;
    database
        .execute("ALTER TABLE orders RENAME TO hidden")
        .await;
    assert_eq!(cut.end().await.end, End::Reset);
    database
        .execute("ALTER TABLE hidden RENAME TO orders")
        .await;
    // Also if the process has no time to do anything.
    let mut killed = open().await;
    server.signal(libc::SIGKILL);
    assert_eq!(killed.end().await.end, End::Reset);
}
