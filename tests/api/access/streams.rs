//! A stream ends when its credential expires or is no longer accepted, and can be resumed.

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::support::auth_file::{AuthFile, ISSUER, Issuer, api_key, bearer, entry, in_seconds};
use crate::support::event_stream::EventStream;
use crate::support::orders::order;
use crate::support::server::Server;

/// A stream ends within this time of a change.
const END: Duration = Duration::from_secs(15);

async fn create(server: &Server, credential: &str, product_id: &str) {
    let request = server.client.post(server.url("/api/v1/orders"));
    let request = request
        .header("authorization", bearer(credential))
        .json(&order(product_id));
    assert_eq!(request.send().await.unwrap().status(), 201);
}

/// Waits for the end of a stream after its events. Returns the last id.
async fn end_of(stream: &mut EventStream, within: Duration) -> String {
    let end = tokio::time::timeout(within, stream.next()).await;
    assert!(end.expect("the stream ends in time").is_none());
    assert!(stream.ended_cleanly(), "the last chunk is missing");
    stream.last_id.clone().unwrap()
}

fn writer() -> String {
    entry(&api_key("writer"), &["orders:write"], "default")
}

#[tokio::test]
async fn a_stream_ends_when_its_key_expires_and_another_key_resumes_it() {
    let at = SystemTime::now() + Duration::from_secs(4);
    let at = humantime::format_rfc3339_millis(at);
    let short = entry(&api_key("short"), &["events:read"], "default");
    let long = entry(&api_key("long"), &["events:read"], "default");
    let file = AuthFile::new(&format!("{short}expires = {at}\n{long}{}", writer()));
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    let mut stream = EventStream::open_with(&server, &api_key("short"), None).await;
    create(&server, &api_key("writer"), "one").await;
    assert_eq!(
        stream.next().await.unwrap().data["data"]["product_id"],
        "one"
    );
    let last = end_of(&mut stream, Duration::from_secs(6)).await;
    create(&server, &api_key("writer"), "two").await;
    let mut resumed = EventStream::open_with(&server, &api_key("long"), Some(&last)).await;
    assert_eq!(
        resumed.next().await.unwrap().data["data"]["product_id"],
        "two"
    );
}

#[tokio::test]
async fn a_stream_ends_when_its_key_is_removed_and_others_continue() {
    let keys = |ids: &[&str]| -> String {
        let entries = ids
            .iter()
            .map(|id| entry(&api_key(id), &["events:read"], "default"));
        entries.collect::<String>() + &writer()
    };
    let mut file = AuthFile::new(&keys(&["removed", "kept"]));
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    let mut removed = EventStream::open_with(&server, &api_key("removed"), None).await;
    let mut kept = EventStream::open_with(&server, &api_key("kept"), None).await;
    create(&server, &api_key("writer"), "one").await;
    assert!(removed.next().await.is_some() && kept.next().await.is_some());
    file.write(&keys(&["kept"]));
    end_of(&mut removed, END).await;
    create(&server, &api_key("writer"), "two").await;
    assert_eq!(kept.next().await.unwrap().data["data"]["product_id"], "two");
}

#[tokio::test]
async fn a_stream_ends_when_one_of_two_keys_with_one_id_is_removed() {
    let (first, second) = (api_key("key"), format!("osk_key_{}", "b".repeat(64)));
    let both = [&first, &second].map(|key| entry(key, &["events:read"], "default"));
    let mut file = AuthFile::new(&(both.concat() + &writer()));
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    let mut old = EventStream::open_with(&server, &first, None).await;
    let mut new = EventStream::open_with(&server, &second, None).await;
    create(&server, &api_key("writer"), "one").await;
    assert!(old.next().await.is_some() && new.next().await.is_some());
    file.write(&(both[1].clone() + &writer()));
    end_of(&mut old, END).await;
    create(&server, &api_key("writer"), "two").await;
    assert!(new.next().await.is_some());
}

#[tokio::test]
async fn a_stream_ends_when_its_scope_or_its_tenant_changes() {
    let with = |scopes: &[&str], tenant: &str| {
        let other = entry(&api_key("other"), &["events:read"], tenant);
        entry(&api_key("key"), scopes, "default") + &other + &writer()
    };
    let mut file = AuthFile::new(&with(&["events:read"], "default"));
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    let mut scope = EventStream::open_with(&server, &api_key("key"), None).await;
    let mut tenant = EventStream::open_with(&server, &api_key("other"), None).await;
    create(&server, &api_key("writer"), "one").await;
    assert!(scope.next().await.is_some() && tenant.next().await.is_some());
    file.write(&with(&["orders:read"], "another"));
    end_of(&mut scope, END).await;
    end_of(&mut tenant, END).await;
}

#[tokio::test]
async fn a_stream_ends_when_the_grant_or_the_issuer_of_its_token_is_removed() {
    let issuer = Issuer::new("one");
    let grant = |subject: &str| {
        format!(
            "[[grant]]\nissuer = \"{ISSUER}\"\nsubject = \"{subject}\"\nscopes = [\"events:read\"]\n"
        )
    };
    let mut file = AuthFile::new("");
    let jwks = file.beside("jwks.json");
    std::fs::write(&jwks, issuer.jwks().to_string()).unwrap();
    let entry = format!(
        "[[issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"order-service\"]\njwks_file = {jwks:?}\n"
    );
    file.write(&(entry.clone() + &grant("one") + &grant("two") + &writer()));
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    let token = |subject: &str| issuer.token(json!({"sub": subject, "exp": in_seconds(600)}));
    let mut one = EventStream::open_with(&server, &token("one"), None).await;
    let mut two = EventStream::open_with(&server, &token("two"), None).await;
    create(&server, &api_key("writer"), "one").await;
    assert!(one.next().await.is_some() && two.next().await.is_some());
    file.write(&(entry + &grant("two") + &writer()));
    end_of(&mut one, END).await;
    create(&server, &api_key("writer"), "two").await;
    assert!(two.next().await.is_some());
    file.write(&writer());
    end_of(&mut two, END).await;
}

#[tokio::test]
async fn a_stream_ends_when_its_token_has_expired_with_its_leeway() {
    let issuer = Issuer::new("one");
    let mut file = AuthFile::new("");
    let jwks = file.beside("jwks.json");
    std::fs::write(&jwks, issuer.jwks().to_string()).unwrap();
    file.write(&format!(
        "[[issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"order-service\"]\njwks_file = {jwks:?}\n{}",
        writer(),
    ));
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    // The leeway is 60 s.
    let claims = json!({"sub": "shop", "scope": "events:read", "exp": in_seconds(-57)});
    let mut stream = EventStream::open_with(&server, &issuer.token(claims), None).await;
    create(&server, &api_key("writer"), "one").await;
    assert!(stream.next().await.is_some());
    end_of(&mut stream, Duration::from_secs(5)).await;
}
