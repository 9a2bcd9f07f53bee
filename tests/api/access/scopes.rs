//! Every route and method needs the scope of the contract, and rejects credentials in the forms of RFC 6750.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::auth_file::{AuthFile, api_key, bearer};
use crate::support::client::Response;
use crate::support::orders::order;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

const CHALLENGE: &str = "Bearer realm=\"order-service\"";
const SCOPES: [&str; 4] = ["orders:read", "orders:write", "events:read", "admin"];

/// Every route of the contract with its scope.
const ROUTES: [(&str, &str, &str); 15] = [
    ("GET", "/api/v1/orders", "orders:read"),
    ("POST", "/api/v1/orders", "orders:write"),
    ("POST", "/api/v1/orders/batch", "orders:write"),
    ("GET", "/api/v1/orders/{id}", "orders:read"),
    ("PATCH", "/api/v1/orders/{id}", "orders:write"),
    ("GET", "/api/v1/events", "events:read"),
    ("GET", "/api/v1/orders/{id}/events", "events:read"),
    ("DELETE", "/api/v1/customers/{customer_id}", "admin"),
    ("GET", "/api/v1/erasures/{id}", "admin"),
    ("GET", "/healthz", ""),
    ("GET", "/readyz", ""),
    ("GET", "/openapi.json", ""),
    ("GET", "/docs", ""),
    ("GET", "/docs/{file}", ""),
    ("GET", "/", ""),
];

/// The id of the key that has this scope alone.
fn key_id(scope: &str) -> String {
    scope.replace(':', "-")
}

fn one_key_for_each_scope() -> AuthFile {
    let ids = SCOPES.map(key_id);
    let keys: Vec<_> = ids
        .iter()
        .zip(&SCOPES)
        .map(|(id, scope)| (id.as_str(), std::slice::from_ref(scope), "default"))
        .collect();
    AuthFile::with_keys(&keys)
}

async fn send(
    server: &Server,
    method: &str,
    path: &str,
    body: &Value,
    authorization: Option<&str>,
) -> Response {
    let mut request = server
        .client
        .request(method.parse().unwrap(), server.url(path));
    if !body.is_null() {
        request = request.json(body);
    }
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn every_route_needs_its_scope_and_no_other() {
    let file = one_key_for_each_scope();
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    let writer = bearer(&api_key("orders-write"));
    let created = send(
        &server,
        "POST",
        "/api/v1/orders",
        &order("sku-1"),
        Some(&writer),
    )
    .await;
    let id = created.json::<Value>()["id"].as_str().unwrap().to_owned();
    let admin = bearer(&api_key("admin"));
    let customer = "/api/v1/customers/nobody";
    let erased = send(&server, "DELETE", customer, &Value::Null, Some(&admin)).await;
    let erasure = erased.header("location").to_owned();
    for (method, template, scope) in ROUTES {
        let path = template
            .replace("/api/v1/erasures/{id}", &erasure)
            .replace("{id}", &id)
            .replace("{customer_id}", "nobody")
            .replace("{file}", "swagger-ui.css");
        let body = match (method, template) {
            ("POST", "/api/v1/orders/batch") => json!({"orders": [order("sku-1")]}),
            ("POST", _) => order("sku-1"),
            ("PATCH", _) => json!({"metadata": {"a": "b"}}),
            _ => Value::Null,
        };
        let methods = if method == "GET" {
            vec!["GET", "HEAD"]
        } else {
            vec![method]
        };
        for method in methods {
            let what = format!("{method} {path}");
            for held in SCOPES {
                let key = bearer(&api_key(&key_id(held)));
                let response = send(&server, method, &path, &body, Some(&key)).await;
                if scope.is_empty() || scope == held {
                    assert!(
                        (200..300).contains(&response.status()),
                        "{what} {response:?}"
                    );
                    continue;
                }
                assert_eq!(response.status(), 403, "{what} with {held}");
                assert_eq!(
                    response.header("www-authenticate"),
                    format!("{CHALLENGE}, error=\"insufficient_scope\", scope=\"{scope}\"")
                );
                if method != "HEAD" {
                    assert_eq!(problem_kind(&problem(response)), "forbidden", "{what}");
                }
            }
            for (authorization, challenge) in [
                (None, CHALLENGE.to_owned()),
                (
                    Some(bearer("osk_unknown_00")),
                    format!("{CHALLENGE}, error=\"invalid_token\""),
                ),
            ] {
                let response = send(&server, method, &path, &body, authorization.as_deref()).await;
                if scope.is_empty() {
                    assert_eq!(response.status(), 200, "{what} {response:?}");
                    continue;
                }
                assert_eq!(response.status(), 401, "{what} {response:?}");
                assert_eq!(response.header("www-authenticate"), challenge, "{what}");
                if method != "HEAD" {
                    assert_eq!(
                        problem_kind(&problem(response)),
                        "unauthenticated",
                        "{what}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_list_has_every_route_of_the_document_with_its_scope() {
    let document: Value = serde_json::from_str(include_str!("../../../openapi.json")).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let documented: BTreeSet<_> = paths
        .iter()
        .flat_map(|(path, item)| {
            let operations = item.as_object().unwrap().iter();
            operations.map(move |(method, operation)| {
                let description = operation["description"].as_str().unwrap();
                let scope = description.split_once("Needs the scope `");
                let scope = scope.map_or("", |(_, rest)| rest.split('`').next().unwrap());
                assert_eq!(scope.is_empty(), operation.get("security").is_none());
                (method.to_uppercase(), path.as_str(), scope)
            })
        })
        .collect();
    let listed = ROUTES.map(|(method, path, scope)| (method.to_owned(), path, scope));
    assert_eq!(documented, listed.into());
}

#[tokio::test]
async fn unknown_paths_are_404_and_unknown_methods_405_without_credentials() {
    let file = one_key_for_each_scope();
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    for (method, path, status) in [
        ("GET", "/nope", 404),
        ("GET", "/api/v1/orders/", 404),
        ("DELETE", "/api/v1/orders", 405),
        ("PUT", "/api/v1/events", 405),
        ("OPTIONS", "/api/v1/orders", 405),
    ] {
        for authorization in [None, Some("Bearer bad")] {
            let response = send(&server, method, path, &Value::Null, authorization).await;
            assert_eq!(response.status(), status, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn an_order_that_does_not_exist_is_401_without_credentials() {
    let file = one_key_for_each_scope();
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    assert_eq!(server.status("/api/v1/orders/no-uuid").await, 401);
    let reader = api_key("orders-read");
    let response = server.get_with(&reader, "/api/v1/orders/no-uuid").await;
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn a_bad_authorization_header_is_401_and_two_are_400() {
    let file = one_key_for_each_scope();
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    let good = api_key("orders-read");
    let mut wrong_secret = good.clone();
    let last = if wrong_secret.pop() == Some('0') {
        '1'
    } else {
        '0'
    };
    wrong_secret.push(last);
    let other_id = good.replace("orders-read", "orders-write");
    for (value, is_token) in [
        (bearer(&wrong_secret), true),
        (bearer(&other_id), true),
        (bearer(&good.to_uppercase()), true),
        (bearer(&format!("{good} {good}")), true),
        (format!("Bearer {good},Bearer {good}"), true),
        ("Bearer".to_owned(), true),
        (bearer("a.b.c"), true),
        (format!("Basic {good}"), false),
        (good.clone(), false),
        (String::new(), false),
    ] {
        let response = send(&server, "GET", "/api/v1/orders", &Value::Null, Some(&value)).await;
        assert_eq!(response.status(), 401, "{value}");
        let challenge = if is_token {
            format!("{CHALLENGE}, error=\"invalid_token\"")
        } else {
            CHALLENGE.to_owned()
        };
        assert_eq!(response.header("www-authenticate"), challenge, "{value}");
    }
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let value = format!("{scheme} {good}");
        let response = send(&server, "GET", "/api/v1/orders", &Value::Null, Some(&value)).await;
        assert_eq!(response.status(), 200, "{scheme}");
    }
    let twice = server.client.get(server.url("/api/v1/orders"));
    let twice = twice.header("authorization", bearer(&good));
    let twice = twice
        .header("authorization", bearer(&good))
        .send()
        .await
        .unwrap();
    assert_eq!(problem_kind(&problem(twice)), "malformed-request");
}
