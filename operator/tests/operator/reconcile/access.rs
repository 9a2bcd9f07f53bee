//! Who may call: the secret with `AUTH_FILE`, and the condition `Secured`.

use serde_json::{Value, json};

use super::{IDLE_CALLS, assert_idle};
use crate::test_cluster::{TestCluster, is_read};

const WITH_AUTH: [&str; 4] = [
    "get secrets db",
    "get secrets keys",
    "get deployments orders",
    "get secrets orders-url-*",
];

fn spec(auth: Value) -> Value {
    let mut spec = TestCluster::spec("orders:1");
    spec["auth"] = auth;
    spec
}

fn secured() -> Value {
    spec(json!({"secretRef": {"name": "keys"}}))
}

/// The variables of the pods that concern access.
fn variables(cluster: &TestCluster) -> Vec<(String, String)> {
    let deployment = cluster.deployment();
    let env = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
    env.as_array()
        .unwrap()
        .iter()
        .filter(|variable| variable["name"].as_str().unwrap().starts_with("AUTH_"))
        .map(|variable| {
            let text = |key: &str| variable[key].as_str().unwrap().to_owned();
            (text("name"), text("value"))
        })
        .collect()
}

/// A running cluster that was created with a secret for this spec.
async fn running(spec: Value) -> TestCluster {
    let cluster = TestCluster::new(spec);
    cluster.auth_secret("[[api_key]]");
    cluster.rolled_out().await
}

#[tokio::test]
async fn an_object_without_auth_keeps_working_and_is_not_secured() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    assert_eq!(
        variables(&cluster),
        [("AUTH_ANONYMOUS".to_owned(), "all".to_owned())]
    );
    assert_eq!(
        cluster.status_and_reason("Secured"),
        "False AuthNotConfigured"
    );
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn with_a_secret_it_is_secured_once_the_pods_run() {
    let cluster = TestCluster::new(secured());
    cluster.auth_secret("[[api_key]]");
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Secured"), "Unknown Pending");
    cluster.finish_job("Complete");
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Secured"), "False RollingOut");
    cluster.roll_out();
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(calls.contains(&"event Secured".to_owned()), "{calls:?}");
    assert_eq!(
        cluster.status_and_reason("Secured"),
        "True CredentialsRequired"
    );
    let file = "/run/secrets/order-service-auth/auth.toml".to_owned();
    assert_eq!(variables(&cluster), [("AUTH_FILE".to_owned(), file)]);
    let pod = &cluster.deployment()["spec"]["template"]["spec"];
    let volume = json!({"name": "auth", "secret": {"secretName": "keys", "defaultMode": 0o440}});
    assert_eq!(pod["volumes"][1], volume);
    cluster.expect(&WITH_AUTH).await;
}

#[tokio::test]
async fn the_migration_needs_no_secret_of_credentials() {
    let cluster = TestCluster::new(secured());
    cluster.auth_secret("[[api_key]]");
    cluster.settle().await;
    let job = cluster
        .names(order_operator::cluster::Kind::Job)
        .pop()
        .unwrap();
    let job = cluster.get("jobs", &job).unwrap();
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"].as_array().unwrap().len(), 1);
    assert!(!pod.to_string().contains("AUTH_"));
}

#[tokio::test]
async fn a_missing_secret_is_reported_and_waited_for() {
    let cluster = TestCluster::new(secured());
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(
        calls.contains(&"event SecretNotFound".to_owned()),
        "{calls:?}"
    );
    assert!(
        !calls.iter().any(|call| call.starts_with("apply jobs")),
        "{calls:?}"
    );
    assert_eq!(cluster.status_and_reason("Degraded"), "True SecretNotFound");
    assert_eq!(
        cluster.condition("Degraded").message,
        "Secret keys does not exist"
    );
    cluster.auth_secret("");
    cluster.run().await.0.unwrap();
    let message = cluster.condition("Degraded").message;
    assert_eq!(message, "Secret keys has nothing in auth.toml");
    cluster.auth_secret("[[api_key]]");
    let cluster = cluster.rolled_out().await;
    assert_eq!(
        cluster.status_and_reason("Secured"),
        "True CredentialsRequired"
    );
}

#[tokio::test]
async fn running_pods_stay_when_the_secret_disappears() {
    let cluster = running(secured()).await;
    cluster.fail("get secrets keys", 404, 1);
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(
        !calls
            .iter()
            .any(|call| call.contains("deployments") && !is_read(call))
    );
    assert_eq!(cluster.status_and_reason("Degraded"), "True SecretNotFound");
    assert_eq!(
        cluster.status_and_reason("Secured"),
        "True CredentialsRequired"
    );
}

#[tokio::test]
async fn changed_keys_roll_no_pods_and_another_secret_does() {
    let cluster = running(secured()).await;
    cluster.auth_secret("[[api_key]] # another one");
    cluster.expect(&WITH_AUTH).await;
    let before = cluster.deployment()["metadata"]["generation"].clone();
    let keys = cluster.get("secrets", "keys").unwrap();
    cluster.put("secrets", "other", keys);
    cluster.edit_spec(|spec| spec["auth"]["secretRef"]["name"] = json!("other"));
    cluster.settle().await;
    assert_ne!(cluster.deployment()["metadata"]["generation"], before);
    assert_eq!(
        cluster.status_and_reason("Secured"),
        "True CredentialsRequired",
        "the pods of both templates need credentials"
    );
}

#[tokio::test]
async fn an_open_spec_is_reported_before_its_pods_run() {
    let cluster = running(secured()).await;
    cluster.edit_spec(|spec| spec["auth"]["anonymous"] = json!(["all"]));
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(calls.contains(&"event NotSecured".to_owned()), "{calls:?}");
    assert_eq!(cluster.status_and_reason("Secured"), "False AnonymousAll");
    cluster.roll_out();
    cluster.settle().await;
    // Back again: as long as open pods may run, it is not secured.
    cluster.edit_spec(|spec| spec["auth"]["anonymous"] = json!([]));
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Secured"), "False RollingOut");
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(
        cluster.status_and_reason("Secured"),
        "True CredentialsRequired"
    );
}

#[tokio::test]
async fn a_rollback_to_open_pods_is_not_secured() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.auth_secret("this file is bad");
    cluster.edit_spec(|spec| spec["auth"] = json!({"secretRef": {"name": "keys"}}));
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Secured"), "False RollingOut");
    cluster.exceed_deadline();
    cluster.settle().await;
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Ready"), "False RolledBack");
    assert_eq!(cluster.status_and_reason("Secured"), "False RollingOut");
    assert_idle(&cluster).await;
}

#[tokio::test]
async fn scopes_of_anonymous_requests_without_any_credentials_are_not_secured() {
    let cluster = running(spec(json!({"anonymous": ["orders:read"]}))).await;
    assert_eq!(cluster.status_and_reason("Secured"), "False NoCredentials");
    let expected = ("AUTH_ANONYMOUS".to_owned(), "orders:read".to_owned());
    assert_eq!(variables(&cluster), [expected]);
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn an_error_does_not_change_what_is_known() {
    let cluster = running(secured()).await;
    cluster.fail("get secrets db", 403, 1);
    cluster.run().await.0.unwrap_err();
    assert_eq!(cluster.status_and_reason("Degraded"), "True ApplyFailed");
    assert_eq!(
        cluster.status_and_reason("Secured"),
        "True CredentialsRequired"
    );
}
