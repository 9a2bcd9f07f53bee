//! `AUTH_ANONYMOUS`: the scopes of requests without credentials.

use serde_json::Value;

use crate::support::auth_file::{AuthFile, api_key};
use crate::support::orders::order;
use crate::support::server::Server;

async fn create(server: &Server, authorization: Option<&str>) -> u16 {
    let request = server
        .client
        .post(server.url("/api/v1/orders"))
        .json(&order("sku-1"));
    let request = match authorization {
        Some(value) => request.header("authorization", value),
        None => request,
    };
    request.send().await.unwrap().status()
}

#[tokio::test]
async fn anonymous_requests_have_exactly_the_configured_scopes() {
    let file = AuthFile::with_keys(&[("writer", &["orders:write"], "default")]);
    let variables = [
        ("AUTH_FILE", file.path()),
        ("AUTH_ANONYMOUS", "orders:read".to_owned()),
    ];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let server = Server::on_sqlite(&variables).await;
    assert_eq!(server.status("/api/v1/orders").await, 200);
    assert_eq!(create(&server, None).await, 401);
    assert_eq!(server.status("/api/v1/events").await, 401);
    let key = format!("Bearer {}", api_key("writer"));
    assert_eq!(create(&server, Some(&key)).await, 201);
    // A credential replaces the anonymous scopes. It does not add to them.
    assert_eq!(
        server
            .get_with(&api_key("writer"), "/api/v1/orders")
            .await
            .status(),
        403
    );
}

#[tokio::test]
async fn a_bad_credential_is_never_anonymous() {
    let server = Server::on_sqlite(&[("AUTH_ANONYMOUS", "all")]).await;
    assert_eq!(create(&server, None).await, 201);
    for value in ["Bearer osk_a_00", "Bearer x", "Basic YTpi", ""] {
        assert_eq!(create(&server, Some(value)).await, 401, "{value:?}");
    }
    let list: Value = server.get("/api/v1/orders").await.json();
    assert_eq!(list.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn without_anonymous_scopes_every_request_needs_credentials() {
    let server = Server::on_sqlite(&[("AUTH_ANONYMOUS", "none")]).await;
    assert_eq!(create(&server, None).await, 401);
    assert_eq!(server.status("/readyz").await, 200);
}
