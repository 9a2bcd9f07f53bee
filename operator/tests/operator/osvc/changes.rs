//! What `retry`, `pause`, `resume` and `rollback` write.

use order_operator::osvc::OsvcError;
use serde_json::json;

use super::objects::{GOOD, NEXT, rolling_out};

#[tokio::test]
async fn retry_sets_a_new_token_each_time() {
    let fake = rolling_out();
    let token = || fake.service()["metadata"]["annotations"]["orders.example.com/retry"].clone();
    let run = fake.run("retry orders").await.unwrap();
    let first = token();
    assert!(run.out.contains(first.as_str().unwrap()), "{}", run.out);
    fake.run("retry orders").await.unwrap();
    assert_ne!(token(), first);
    assert_eq!(fake.service()["spec"]["image"], NEXT);
}

#[tokio::test]
async fn pause_and_resume_write_only_a_change() {
    let fake = rolling_out();
    assert_eq!(
        fake.run("pause orders").await.unwrap().out,
        "orders is paused now\n"
    );
    assert_eq!(fake.service()["spec"]["paused"], true);
    let again = fake.run("pause orders").await.unwrap();
    assert_eq!(
        (again.out.as_str(), again.calls),
        (
            "orders is paused already\n",
            vec!["get orderservices orders".to_owned()]
        )
    );
    fake.run("resume orders").await.unwrap();
    assert_eq!(fake.service()["spec"]["paused"], false);
    assert_eq!(
        fake.run("resume orders").await.unwrap().out,
        "orders is not paused already\n"
    );
}

#[tokio::test]
async fn rollback_sets_the_previous_image_that_rolled_out() {
    let fake = rolling_out();
    let dry = fake.run("rollback orders --dry-run").await.unwrap();
    assert_eq!(
        dry.out,
        format!("orders: would change spec.image from {NEXT} to {GOOD}\n")
    );
    assert_eq!(fake.service()["spec"]["image"], NEXT);
    let run = fake.run("rollback orders").await.unwrap();
    assert_eq!(
        run.out,
        format!("orders: spec.image is {GOOD} now; it was {NEXT}\n")
    );
    assert_eq!(fake.service()["spec"]["image"], GOOD);
    // 1.1.0 never rolled out, so there is no earlier good version.
    let error = fake.run("rollback orders").await.unwrap_err();
    assert!(matches!(error, OsvcError::NotFound(_)), "{error}");
    assert!(error.to_string().contains("--to-image"), "{error}");
    let run = fake
        .run("rollback orders --to-image registry.example.com/x:1")
        .await
        .unwrap();
    assert!(run.notes.is_empty(), "{}", run.notes);
    assert_eq!(fake.service()["spec"]["image"], "registry.example.com/x:1");
    let same = fake
        .run("rollback orders --to-image registry.example.com/x:1")
        .await
        .unwrap();
    assert!(
        same.out.contains("already") && same.calls.iter().all(|call| !call.starts_with("patch")),
        "{}",
        same.out
    );
}

#[tokio::test]
async fn rollback_never_overwrites_a_change_that_it_has_not_read() {
    let fake = rolling_out();
    fake.on_patch(|service| {
        service["spec"]["image"] = json!("registry.example.com/order-service:3.0.0")
    });
    let error = fake.run("rollback orders").await.unwrap_err();
    assert!(matches!(error, OsvcError::Changed), "{error}");
    assert_eq!(
        fake.service()["spec"]["image"],
        "registry.example.com/order-service:3.0.0"
    );
}

#[tokio::test]
async fn a_gitops_controller_that_would_revert_the_change_is_named() {
    let fake = rolling_out();
    fake.change("orders", |service| {
        service["metadata"]["managedFields"] = json!([
            {"manager": "argocd-controller", "operation": "Apply", "fieldsV1": {"f:spec": {"f:image": {}}}},
            {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:image": {}, "f:paused": {}}}},
        ]);
        service["spec"]["paused"] = json!(true);
    });
    let run = fake.run("rollback orders").await.unwrap();
    assert!(
        run.notes
            .contains("argocd-controller also applies spec.image"),
        "{}",
        run.notes
    );
    assert!(run.notes.contains("orders is paused"), "{}", run.notes);
    assert!(!run.notes.contains("kubectl-edit"), "{}", run.notes);
}
