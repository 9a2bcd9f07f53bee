//! Tokens at the edge: how a request waits for keys, and which problems it gets. The unit tests of `access` cover
//! the verification itself.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::auth_file::{AuthFile, ISSUER, Issuer, api_key, bearer, entry, in_seconds};
use crate::support::eventually;
use crate::support::orders::order;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

/// An entry for the issuer, with keys in a file.
fn issuer_entry(file: &AuthFile, more: &str) -> String {
    let jwks = file.beside("jwks.json");
    format!(
        "[[issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"order-service\"]\njwks_file = {jwks:?}\n{more}\n"
    )
}

/// A file with one issuer.
fn file_of(issuer: &Issuer, more: &str) -> AuthFile {
    let mut file = AuthFile::new("");
    std::fs::write(file.beside("jwks.json"), issuer.jwks().to_string()).unwrap();
    file.write(&issuer_entry(&file, more));
    file
}

async fn list(server: &Server, token: &str) -> crate::support::client::Response {
    server.get_with(token, "/api/v1/orders").await
}

#[tokio::test]
async fn the_claims_of_a_token_decide_what_it_allows() {
    let issuer = Issuer::new("one");
    let file = file_of(&issuer, "tenant_claim = \"/tenant\"");
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    let token = |scope: &str, tenant: &Value, exp: i64| {
        issuer.token(json!({"sub": "shop", "scope": scope, "tenant": tenant, "exp": exp}))
    };
    let soon = in_seconds(600);
    let acme = json!("acme");
    for (token, status, kind) in [
        (token("openid orders:read", &acme, soon), 200, ""),
        (token("orders:write", &acme, soon), 403, "forbidden"),
        (token("orders:read", &Value::Null, soon), 403, "forbidden"),
        (token("orders:read", &json!("A B"), soon), 403, "forbidden"),
        (
            token("orders:read", &acme, in_seconds(-61)),
            401,
            "unauthenticated",
        ),
        (
            Issuer::new("one").token(json!({"sub": "shop", "exp": soon})),
            401,
            "unauthenticated",
        ),
    ] {
        let response = list(&server, &token).await;
        assert_eq!(response.status(), status, "{response:?}");
        if !kind.is_empty() {
            assert_eq!(problem_kind(&problem(response)), kind);
        }
    }
}

#[tokio::test]
async fn an_issuer_that_does_not_respond_makes_its_keys_unavailable_within_the_deadline() {
    // Accepts connections and never responds.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = Issuer::new("one");
    let text = format!(
        "[[issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"order-service\"]\njwks_url = \"http://{}/\"\n{}",
        silent.local_addr().unwrap(),
        entry(&api_key("reader"), &["orders:read"], "default"),
    );
    let file = AuthFile::new(&text);
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path()), ("REQUEST_TIMEOUT", "1s")]).await;
    let token =
        issuer.token(json!({"sub": "shop", "scope": "orders:write", "exp": in_seconds(600)}));
    let start = Instant::now();
    let request = server.client.post(server.url("/api/v1/orders"));
    let request = request
        .header("authorization", bearer(&token))
        .json(&order("sku-1"));
    let response = request.send().await.unwrap();
    assert!(
        (900..3000).contains(&start.elapsed().as_millis()),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(problem_kind(&problem(response)), "keys-unavailable");
    // API keys work, so the service is ready.
    assert_eq!(
        server
            .get_with(&api_key("reader"), "/api/v1/orders")
            .await
            .status(),
        200
    );
    assert_eq!(server.status("/readyz").await, 200);
    // A token of an issuer that is not configured does not wait.
    let start = Instant::now();
    assert_eq!(list(&server, "a.b.c").await.status(), 401);
    assert!(start.elapsed() < Duration::from_millis(500));
}

#[tokio::test]
async fn a_request_waits_for_the_first_keys_and_is_then_served_with_its_body() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let issuer = Issuer::new("one");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let jwks = issuer.jwks().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{jwks}",
            jwks.len()
        );
        stream.write_all(response.as_bytes()).await.unwrap();
    });
    let file = AuthFile::new(&format!(
        "[[issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"order-service\"]\njwks_url = \"http://{address}/\"\n"
    ));
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    let not_ready = server.get("/readyz").await;
    assert_eq!(not_ready.json::<Value>()["reason"], "keys_unavailable");
    let token =
        issuer.token(json!({"sub": "shop", "scope": "orders:write", "exp": in_seconds(600)}));
    let request = server.client.post(server.url("/api/v1/orders"));
    let request = request
        .header("authorization", bearer(&token))
        .json(&order("sku-1"));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 201, "{response:?}");
    assert_eq!(server.status("/readyz").await, 200);
}

#[tokio::test]
async fn readiness_fails_only_until_the_first_keys() {
    let issuer = Issuer::new("one");
    let file = file_of(&issuer, "");
    let jwks = std::fs::read_to_string(file.beside("jwks.json")).unwrap();
    std::fs::remove_file(file.beside("jwks.json")).unwrap();
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    let response = server.get("/readyz").await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.json::<Value>()["reason"], "keys_unavailable");
    let age = "auth_key_set_age_seconds{issuer=\"https://issuer.example\"}";
    assert!(server.metric::<f64>(age).await.is_nan());
    let token =
        issuer.token(json!({"sub": "shop", "scope": "orders:read", "exp": in_seconds(600)}));
    let response = list(&server, &token).await;
    assert_eq!(problem_kind(&problem(response)), "keys-unavailable");
    std::fs::write(file.beside("jwks.json"), jwks).unwrap();
    eventually("it is ready", Duration::from_secs(40), async || {
        server.status("/readyz").await == 200
    })
    .await;
    assert_eq!(list(&server, &token).await.status(), 200);
    assert!(server.metric::<f64>(age).await < 40.0);
}

#[tokio::test]
async fn an_expired_token_is_rejected_although_it_was_cached() {
    let issuer = Issuer::new("one");
    let file = file_of(&issuer, "");
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path()), ("WORKERS", "1")]).await;
    // The leeway is 60 s.
    let token =
        issuer.token(json!({"sub": "shop", "scope": "orders:read", "exp": in_seconds(-57)}));
    assert_eq!(list(&server, &token).await.status(), 200);
    assert_eq!(list(&server, &token).await.status(), 200);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(list(&server, &token).await.status(), 401);
}

#[tokio::test]
async fn a_token_that_no_key_makes_valid_does_not_wait_for_keys() {
    // Accepts connections and never responds.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = AuthFile::new(&format!(
        "[[issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"order-service\"]\njwks_url = \"http://{}/\"\n",
        silent.local_addr().unwrap()
    ));
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path()), ("REQUEST_TIMEOUT", "5s")]).await;
    let good =
        json!({"iss": ISSUER, "aud": "order-service", "sub": "shop", "exp": in_seconds(600)});
    for (kind, claim, value) in [
        ("at+jwt", "aud", json!("other")),
        ("at+jwt", "exp", json!(in_seconds(-61))),
        ("at+jwt", "exp", json!("soon")),
        ("at+jwt", "nbf", json!(in_seconds(120))),
        ("at+jwt", "sub", json!("")),
        ("JWT", "sub", json!("shop")),
    ] {
        let mut claims = good.clone();
        claims[claim] = value;
        let header = json!({"typ": kind, "alg": "ES256"});
        let [header, claims] =
            [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let start = Instant::now();
        let response = list(&server, &format!("{header}.{claims}.AA")).await;
        assert_eq!(response.status(), 401, "{kind} {claim}");
        assert!(start.elapsed() < Duration::from_secs(2), "{kind} {claim}");
    }
}
