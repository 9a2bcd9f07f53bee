//! `AUTH_FILE` is followed while the service runs.

use std::time::{Duration, SystemTime};

use crate::support::auth_file::{AuthFile, api_key, entry};
use crate::support::eventually;
use crate::support::server::Server;

/// The file is read again within this time of a change.
const RELOAD: Duration = Duration::from_secs(10);

async fn list(server: &Server, id: &str) -> u16 {
    server
        .get_with(&api_key(id), "/api/v1/orders")
        .await
        .status()
}

const RELOADED: &str = "auth_file_reload_total{outcome=\"success\"}";
const FAILED: &str = "auth_file_reload_total{outcome=\"failure\"}";

#[tokio::test]
async fn keys_are_added_and_removed_without_a_restart() {
    let mut file = AuthFile::with_keys(&[("old", &["orders:read"], "default")]);
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    assert_eq!(
        (list(&server, "old").await, list(&server, "new").await),
        (200, 401)
    );
    let old = file.text().to_owned();
    file.write(&(old + &entry(&api_key("new"), &["orders:read"], "default")));
    eventually("both keys are accepted", RELOAD, async || {
        list(&server, "new").await == 200
    })
    .await;
    assert_eq!(list(&server, "old").await, 200);
    file.write(&entry(&api_key("new"), &["orders:read"], "default"));
    // The old key is in the caches of both workers.
    eventually("the old key is rejected", RELOAD, async || {
        list(&server, "old").await == 401
    })
    .await;
    for _ in 0..20 {
        assert_eq!(
            (list(&server, "old").await, list(&server, "new").await),
            (401, 200)
        );
    }
    assert_eq!(server.metric::<u64>(RELOADED).await, 2);
    assert_eq!(server.metric::<u64>(FAILED).await, 0);
}

#[tokio::test]
async fn the_scopes_of_a_key_change_without_a_restart() {
    let mut file = AuthFile::with_keys(&[("key", &["orders:read"], "default")]);
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    assert_eq!(list(&server, "key").await, 200);
    file.write(&entry(&api_key("key"), &["orders:write"], "default"));
    eventually("the key lacks the scope", RELOAD, async || {
        list(&server, "key").await == 403
    })
    .await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_reported_once() {
    let mut file = AuthFile::with_keys(&[("key", &["orders:read"], "default")]);
    let good = file.text().to_owned();
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    file.write("[[api_key]]\nid = \"planted\nsha256 = 7\n");
    eventually("the fault is counted", RELOAD, async || {
        server.metric::<u64>(FAILED).await == 1
    })
    .await;
    let faults = || {
        let mut logs = server.logs();
        logs.retain(|line| line["level"] == "ERROR");
        logs
    };
    eventually("the fault is logged", Duration::from_secs(2), async || {
        !faults().is_empty()
    })
    .await;
    let error = faults()[0]["error"].as_str().unwrap().to_owned();
    assert!(
        error.contains("line 2") && !error.contains("planted"),
        "{error}"
    );
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(faults().len(), 1);
    assert_eq!(list(&server, "key").await, 200);
    std::fs::remove_file(file.path()).unwrap();
    eventually("the absence is counted", RELOAD, async || {
        server.metric::<u64>(FAILED).await == 2
    })
    .await;
    assert_eq!(list(&server, "key").await, 200);
    file.write(&(good + &entry(&api_key("new"), &["orders:read"], "default")));
    eventually("the new key is accepted", RELOAD, async || {
        list(&server, "new").await == 200
    })
    .await;
}

#[tokio::test]
async fn an_expired_key_is_rejected_although_it_was_cached() {
    let at = SystemTime::now() + Duration::from_secs(4);
    let at = humantime::format_rfc3339_millis(at);
    let key = entry(&api_key("key"), &["orders:read"], "default");
    let file = AuthFile::new(&format!("{key}expires = {at}\n"));
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    assert_eq!(list(&server, "key").await, 200);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(list(&server, "key").await, 401);
}
