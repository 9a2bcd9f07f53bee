//! What logs and metrics record about callers.

use std::time::Duration;

use serde_json::Value;

use crate::support::auth_file::{AuthFile, api_key};
use crate::support::eventually;
use crate::support::server::Server;

fn audit_log(server: &Server) -> Vec<Value> {
    let mut logs = server.logs();
    logs.retain(|line| line["target"] == "order_service::audit");
    logs
}

#[tokio::test]
async fn access_lines_name_the_principal_and_its_tenant() {
    let file = AuthFile::with_keys(&[
        ("reader", &["orders:read"], "acme"),
        ("anonymous", &["orders:read"], "acme"),
    ]);
    let server = Server::on_sqlite(&[
        ("AUTH_FILE", &file.path()),
        ("AUTH_ANONYMOUS", "events:read"),
        ("RUST_LOG", "order_service::access=debug,info"),
    ])
    .await;
    for (id, path) in [
        ("reader", "/api/v1/orders"),
        ("reader", "/api/v1/events"),
        ("anonymous", "/api/v1/orders"),
    ] {
        server.get_with(&api_key(id), path).await;
    }
    server.get_with("bad", "/api/v1/orders").await;
    server.get("/api/v1/events").await;
    server.get_with(&api_key("reader"), "/healthz").await;
    eventually("six lines", Duration::from_secs(2), async || {
        server.access_log().len() == 6
    })
    .await;
    let lines: Vec<_> = server
        .access_log()
        .iter()
        .map(|line| {
            (
                line["status"].clone(),
                line["principal"].clone(),
                line["tenant"].clone(),
            )
        })
        .collect();
    let null = Value::Null;
    let expected: [(Value, Value, Value); 6] = [
        (200.into(), "reader".into(), "acme".into()),
        (403.into(), "reader".into(), "acme".into()),
        (200.into(), "anonymous".into(), "acme".into()),
        (401.into(), null.clone(), null.clone()),
        (200.into(), null.clone(), "default".into()),
        (200.into(), null.clone(), null),
    ];
    assert_eq!(lines, expected);
    for line in server.access_log() {
        assert!(
            line.as_object().unwrap().contains_key("principal"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn rejected_credentials_are_logged_with_their_reason_at_a_bounded_rate() {
    let file = AuthFile::with_keys(&[("reader", &["orders:read"], "acme")]);
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    let unknown = api_key("unknown");
    let request = server.client.get(server.url("/api/v1/orders"));
    let request = request.header("authorization", format!("Bearer {unknown}"));
    request.header("x-request-id", "mine").send().await.unwrap();
    server.get_with(&api_key("reader"), "/api/v1/events").await;
    // A request without credentials is no rejected credential.
    server.get("/api/v1/orders").await;
    eventually("both are logged", Duration::from_secs(2), async || {
        audit_log(&server).len() == 2
    })
    .await;
    let lines = audit_log(&server);
    assert_eq!(lines[0]["reason"], "the API key is unknown");
    assert_eq!(lines[0]["request_id"], "mine");
    assert!(lines[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(lines[1]["principal"], "reader");
    assert_eq!(lines[1]["tenant"], "acme");
    assert_eq!(lines[1]["scope"], "events:read");
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..10 {
        let requests = (0..50).map(|_| server.get_with("bad", "/api/v1/orders"));
        futures_util::future::join_all(requests).await;
    }
    // The flood hides no request of a verified principal.
    let forbidden = || {
        let lines = audit_log(&server).into_iter();
        lines.filter(|line| line["principal"] == "reader").count()
    };
    server.get_with(&api_key("reader"), "/api/v1/events").await;
    eventually("it is logged", Duration::from_secs(2), async || {
        forbidden() == 2
    })
    .await;
    // No further request is needed to learn how many lines were left out.
    eventually("all are counted", Duration::from_secs(8), async || {
        let lines = audit_log(&server);
        let written = lines.iter().filter(|line| line.get("reason").is_some());
        let left_out = lines.iter().map(|line| line["left_out"].as_u64().unwrap());
        u64::try_from(written.count()).unwrap() + left_out.sum::<u64>() == 503
    })
    .await;
    assert!(
        audit_log(&server).len() < 150,
        "{}",
        audit_log(&server).len()
    );
}

#[tokio::test]
async fn requests_are_counted_by_kind_of_credential_and_outcome() {
    let file = AuthFile::with_keys(&[("reader", &["orders:read"], "acme")]);
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    let count = async |method: &str, outcome: &str| -> u64 {
        let series = format!("auth_total{{method=\"{method}\",outcome=\"{outcome}\"}}");
        server.metric(&series).await
    };
    server.get_with(&api_key("reader"), "/api/v1/orders").await;
    server.get_with(&api_key("reader"), "/api/v1/events").await;
    server.get_with(&api_key("unknown"), "/api/v1/orders").await;
    server.get_with("a.b.c", "/api/v1/orders").await;
    server.get("/api/v1/orders").await;
    let basic = server.client.get(server.url("/api/v1/orders"));
    basic
        .header("authorization", "Basic YTpi")
        .send()
        .await
        .unwrap();
    // Routes without a scope authenticate nothing.
    server.get_with(&api_key("unknown"), "/healthz").await;
    server.get("/nope").await;
    for (method, outcome, expected) in [
        ("api_key", "accepted", 1),
        ("api_key", "forbidden", 1),
        ("api_key", "rejected", 1),
        ("token", "accepted", 0),
        ("token", "rejected", 1),
        ("token", "unavailable", 0),
        ("anonymous", "accepted", 0),
        ("anonymous", "rejected", 1),
        ("other", "rejected", 1),
    ] {
        assert_eq!(count(method, outcome).await, expected, "{method} {outcome}");
    }
}
