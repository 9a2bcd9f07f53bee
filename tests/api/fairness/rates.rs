//! The rates of principals and of failed authentication (`RATE_LIMIT`).

use std::time::Duration;

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
