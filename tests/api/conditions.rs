//! Conditional requests and concurrent updates.

use serde_json::{Value, json};

use super::updates::order_in;
use crate::support::database::Database;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    of_twenty_updates_on_the_same_version_one_succeeds,
    concurrent_updates_without_a_condition_all_succeed,
    if_match_and_if_none_match_are_evaluated_on_the_version,
    the_problem_of_a_weak_tag_differs_from_that_of_a_stale_one,
);

async fn of_twenty_updates_on_the_same_version_one_succeeds(database: Database) {
    let server = Server::start(&database, &[]).await;
    for _ in 0..5 {
        let id = order_in(&server, "pending").await;
        let url = server.url(&format!("/api/v1/orders/{id}"));
        let tasks: Vec<_> = (0..20)
            .map(|i| {
                let request = server.client.patch(&url).header("if-match", "\"1\"");
                tokio::spawn(request.json(&json!({"quantity": i + 2})).send())
            })
            .collect();
        let (mut won, mut stale) = (0, 0);
        for task in tasks {
            match task.await.unwrap().unwrap().status() {
                200 => won += 1,
                412 => stale += 1,
                other => panic!("{other}"),
            }
        }
        assert_eq!((won, stale), (1, 19));
        let order: Value = server.get(&format!("/api/v1/orders/{id}")).await.json();
        assert_eq!(order["version"], 2);
    }
}

async fn concurrent_updates_without_a_condition_all_succeed(database: Database) {
    let server = Server::start(&database, &[]).await;
    let id = order_in(&server, "pending").await;
    let url = server.url(&format!("/api/v1/orders/{id}"));
    let tasks: Vec<_> = (0..20)
        .map(|i| {
            let body = json!({"metadata": {i.to_string(): "x"}});
            tokio::spawn(server.client.patch(&url).json(&body).send())
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), 200);
    }
    let order: Value = server.get(&format!("/api/v1/orders/{id}")).await.json();
    assert_eq!(order["version"], 21);
    assert_eq!(order["metadata"].as_object().unwrap().len(), 20);
}

async fn if_match_and_if_none_match_are_evaluated_on_the_version(database: Database) {
    let server = Server::start(&database, &[]).await;
    let id = order_in(&server, "confirmed").await;
    let url = server.url(&format!("/api/v1/orders/{id}"));
    for (tags, status) in [
        ("\"2\"", 304),
        ("W/\"2\"", 304),
        ("\"7\", \"2\"", 304),
        ("*", 304),
        ("\"1\"", 200),
        ("\"02\"", 200),
        ("2", 400),
    ] {
        let request = server.client.get(&url).header("if-none-match", tags);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{tags}");
        if status == 304 {
            assert_eq!(
                (response.header("etag"), response.text().as_str()),
                ("\"2\"", "")
            );
        }
    }
    let get = async |tags: &str| {
        let request = server.client.get(&url).header("if-match", tags);
        request.send().await.unwrap().status()
    };
    assert_eq!(
        (get("\"2\"").await, get("\"1\"").await, get("*").await),
        (200, 412, 200)
    );
    // An update that requires a version which the client does not have.
    for (tags, status) in [("*", 412), ("\"2\"", 412), ("W/\"2\"", 412), ("\"1\"", 200)] {
        let request = server.client.patch(&url).header("if-none-match", tags);
        let response = request
            .json(&json!({"metadata": {"a": tags}}))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{tags}");
    }
}

async fn the_problem_of_a_weak_tag_differs_from_that_of_a_stale_one(database: Database) {
    let server = Server::start(&database, &[]).await;
    let id = order_in(&server, "pending").await;
    let url = server.url(&format!("/api/v1/orders/{id}"));
    for (name, value, part) in [
        ("if-match", "W/\"1\"", "weak"),
        ("if-match", "W/\"1\", W/\"2\"", "weak"),
        ("if-match", "\"2\"", "has changed"),
        ("if-match", "W/\"1\", \"2\"", "has changed"),
        ("if-none-match", "*", "If-None-Match"),
    ] {
        let request = server.client.patch(&url).header(name, value);
        let rejected = request.json(&json!({"quantity": 9})).send().await.unwrap();
        let rejected = problem(rejected);
        assert_eq!(problem_kind(&rejected), "precondition-failed");
        let detail = rejected["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{name}: {value}: {detail}");
    }
    let weak = server.client.get(&url).header("if-match", "W/\"1\"");
    let rejected = problem(weak.send().await.unwrap());
    assert!(rejected["detail"].as_str().unwrap().contains("weak"));
}
