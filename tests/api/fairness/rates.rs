//! The rates of principals and of failed authentication (`RATE_LIMIT`).

use std::time::Duration;

use serde_json::json;

use crate::support::auth_file::{AuthFile, ISSUER, Issuer, api_key, entry, in_seconds};
use crate::support::client::Response;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::principals::{get_as, with_principals};
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

const LIMITS: [(&str, &str); 2] = [("RATE_LIMIT", "1"), ("RATE_BURST", "3")];
const PATH: &str = "/api/v1/orders?limit=1";

fn limits(response: &Response) -> (&str, &str) {
    (
        response.header("ratelimit-policy"),
        response.header("ratelimit"),
    )
}

#[tokio::test]
async fn a_burst_is_served_then_the_rate_and_the_headers_say_so() {
    let database = Database::sqlite();
    let (server, _file) = with_principals(&database, &LIMITS).await;
    const POLICY: &str = "\"default\";q=3;w=3";
    for left in [
        "\"default\";r=2;t=1",
        "\"default\";r=1;t=1",
        "\"default\";r=0;t=1",
    ] {
        let response = get_as(&server, "a", PATH).await;
        assert_eq!(response.status(), 200);
        assert_eq!(limits(&response), (POLICY, left));
    }
    let response = get_as(&server, "a", PATH).await;
    assert_eq!(limits(&response), (POLICY, "\"default\";r=0;t=1"));
    assert_eq!(response.header("retry-after"), "1");
    let rejected = problem(response);
    assert_eq!(
        (problem_kind(&rejected), &rejected["status"]),
        ("rate-limited", &429.into())
    );
    assert_eq!(server.metric::<u64>("rate_limited_total").await, 1);
    // Others have limits of their own, among them all requests without credentials together.
    for _ in 0..3 {
        assert_eq!(get_as(&server, "b", PATH).await.status(), 200);
        assert_eq!(server.status(PATH).await, 200);
    }
    assert_eq!(server.status(PATH).await, 429);
    // A request that is rejected later counts as well, and says what is left.
    let missing = get_as(&server, "c", "/api/v1/orders/1").await;
    assert_eq!(
        (missing.status(), limits(&missing).1),
        (404, "\"default\";r=2;t=1")
    );
    // Open routes have no limit and no headers.
    for _ in 0..10 {
        let open = get_as(&server, "a", "/openapi.json").await;
        assert_eq!(open.status(), 200);
        assert!(!open.headers().contains_key("ratelimit"));
        assert_eq!(server.status("/healthz").await, 200);
    }
    tokio::time::sleep(Duration::from_millis(1_010)).await;
    assert_eq!(get_as(&server, "a", PATH).await.status(), 200);
}

#[tokio::test]
async fn without_a_limit_responses_have_no_headers_of_it() {
    let server = Server::on_sqlite(&[]).await;
    let response = server.get(PATH).await;
    assert!(!response.headers().contains_key("ratelimit"));
    assert!(!response.headers().contains_key("ratelimit-policy"));
}

async fn with_authorization(server: &Server, value: &str) -> Response {
    let request = server.client.get(server.url(PATH));
    request.header("authorization", value).send().await.unwrap()
}

#[tokio::test]
async fn failed_authentication_is_limited_by_address_and_a_good_credential_is_never_refused() {
    let database = Database::sqlite();
    let (server, _file) = with_principals(&database, &LIMITS).await;
    let bad = format!("Bearer osk_a_{}", "0".repeat(64));
    for header in [bad.as_str(), "Bearer not.a.token", "Basic YTpi"] {
        assert_eq!(
            with_authorization(&server, header).await.status(),
            401,
            "{header}"
        );
    }
    for _ in 0..5 {
        let response = with_authorization(&server, &bad).await;
        assert_eq!(response.header("retry-after"), "1");
        assert_eq!(
            limits(&response),
            ("\"default\";q=3;w=3", "\"default\";r=0;t=1")
        );
        assert!(!response.headers().contains_key("www-authenticate"));
        assert_eq!(problem_kind(&problem(response)), "rate-limited");
    }
    for principal in ["a", "b", "c", "d"] {
        assert_eq!(
            get_as(&server, principal, PATH).await.status(),
            200,
            "{principal}"
        );
    }
    assert_eq!(with_authorization(&server, &bad).await.status(), 429);
    // A request without a credential is not an attempt.
    assert_eq!(server.status(PATH).await, 200);
    eventually(
        "failures are 401 again",
        Duration::from_secs(3),
        async || with_authorization(&server, &bad).await.status() == 401,
    )
    .await;
}

#[tokio::test]
async fn without_a_limit_failed_authentication_has_none() {
    let database = Database::sqlite();
    let (server, _file) = with_principals(&database, &[]).await;
    let bad = format!("Bearer osk_a_{}", "0".repeat(64));
    for _ in 0..30 {
        assert_eq!(with_authorization(&server, &bad).await.status(), 401);
    }
}

#[tokio::test]
async fn a_request_without_the_scope_counts_against_the_rate_of_its_principal() {
    let file = AuthFile::with_keys(&[("reader", &["orders:read"], "acme")]);
    let variables = [LIMITS[0], LIMITS[1], ("AUTH_FILE", &file.path())];
    let server = Server::on_sqlite(&variables).await;
    for left in [2, 1, 0] {
        let response = server.get_with(&api_key("reader"), "/api/v1/events").await;
        assert_eq!(response.status(), 403);
        assert_eq!(limits(&response).1, format!("\"default\";r={left};t=1"));
    }
    for path in ["/api/v1/events", PATH] {
        let response = server.get_with(&api_key("reader"), path).await;
        assert_eq!(limits(&response).1, "\"default\";r=0;t=1");
        assert_eq!(problem_kind(&problem(response)), "rate-limited", "{path}");
    }
}

/// A file with an issuer and the API key `reader`. The tokens of the issuer must name a tenant.
fn with_issuer(jwks: Option<&Issuer>) -> AuthFile {
    let mut file = AuthFile::new("");
    let path = file.beside("jwks.json");
    if let Some(issuer) = jwks {
        std::fs::write(&path, issuer.jwks().to_string()).unwrap();
    }
    let key = entry(&api_key("reader"), &["orders:read"], "acme");
    file.write(&format!(
        "[[issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"order-service\"]\njwks_file = {path:?}\n\
         tenant_claim = \"/tenant\"\n{key}"
    ));
    file
}

#[tokio::test]
async fn a_token_without_a_tenant_counts_as_failed_authentication() {
    let issuer = Issuer::new("one");
    let file = with_issuer(Some(&issuer));
    let variables = [LIMITS[0], LIMITS[1], ("AUTH_FILE", &file.path())];
    let server = Server::on_sqlite(&variables).await;
    let claims = json!({"sub": "shop", "scope": "orders:read", "exp": in_seconds(600)});
    let token = issuer.token(claims);
    for _ in 0..3 {
        assert_eq!(server.get_with(&token, PATH).await.status(), 403);
    }
    assert_eq!(server.get_with(&token, PATH).await.status(), 429);
    let good = server.get_with(&api_key("reader"), PATH).await;
    assert_eq!(good.status(), 200);
}

#[tokio::test]
async fn tokens_whose_keys_are_unavailable_are_limited_by_address_and_so_are_their_warnings() {
    let issuer = Issuer::new("one");
    let file = with_issuer(None);
    let variables = [LIMITS[0], LIMITS[1], ("AUTH_FILE", &file.path())];
    let server = Server::on_sqlite(&variables).await;
    let claims = json!({"sub": "shop", "scope": "orders:read", "exp": in_seconds(600)});
    let token = issuer.token(claims);
    let requests = (0..50).map(|_| server.get_with(&token, PATH));
    let responses = futures_util::future::join_all(requests).await;
    let (unavailable, limited): (Vec<_>, Vec<_>) = responses
        .iter()
        .partition(|response| response.status() == 503);
    assert!(
        (3..10).contains(&unavailable.len()),
        "{}",
        unavailable.len()
    );
    assert!(limited.iter().all(|response| response.status() == 429));
    let warnings = async || {
        let lines = server.access_log().into_iter();
        lines.filter(|line| line["level"] == "WARN").count()
    };
    eventually("the 503 are logged", Duration::from_secs(2), async || {
        warnings().await == unavailable.len()
    })
    .await;
    let good = server.get_with(&api_key("reader"), PATH).await;
    assert_eq!(good.status(), 200);
}
