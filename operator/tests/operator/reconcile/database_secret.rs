//! The copy of the URL of the database: pods that serve never read a URL that was not tried, and a rollback returns to
//! the previous one.

use order_operator::cluster::Kind;
use serde_json::{Value, json};

use super::{IDLE_CALLS, assert_idle, idle_calls_and};
use crate::test_cluster::{TestCluster, is_read};

/// The name of the secret that the pods read.
pub fn mounted(cluster: &TestCluster) -> String {
    volume_secret(&cluster.deployment()["spec"]["template"])
}

pub fn volume_secret(template: &Value) -> String {
    let volumes = template["spec"]["volumes"].as_array().unwrap();
    let volume = volumes
        .iter()
        .find(|volume| volume["name"] == "database-url");
    volume.unwrap()["secret"]["secretName"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The URL that the pods read.
pub fn read_url(cluster: &TestCluster) -> String {
    let secret = cluster.get("secrets", &mounted(cluster)).unwrap();
    let data: k8s_openapi::ByteString =
        serde_json::from_value(secret["data"]["database-url"].clone()).unwrap();
    String::from_utf8(data.0).unwrap()
}

pub fn copies(cluster: &TestCluster) -> Vec<String> {
    let all = cluster.names(Kind::Secret).into_iter();
    all.filter(|name| name.starts_with("orders-url-")).collect()
}

fn spec(policy: &str) -> Value {
    let mut spec = TestCluster::spec("orders:1");
    spec["database"]["onSecretChange"] = json!(policy);
    spec
}

/// Completes a migration and applies what follows.
pub async fn migrated(cluster: &TestCluster) {
    cluster.settle().await;
    cluster.finish_job("Complete");
    cluster.settle().await;
}

#[tokio::test]
async fn pods_read_an_immutable_copy_that_the_orderservice_owns() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let secret = cluster.get("secrets", &mounted(&cluster)).unwrap();
    assert_eq!(secret["immutable"], true);
    assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], "osvc-uid");
    assert_eq!(read_url(&cluster), "postgres://one");
    let status = cluster.object().status.unwrap();
    assert_eq!(status.database_secrets, copies(&cluster));
    let job = cluster.names(Kind::Job).pop().unwrap();
    let job = cluster.get("jobs", &job).unwrap();
    assert_eq!(volume_secret(&job["spec"]["template"]), mounted(&cluster));
    let maintenance = cluster.get("cronjobs", "orders-maintain").unwrap();
    let template = &maintenance["spec"]["jobTemplate"]["spec"]["template"];
    assert_eq!(volume_secret(template), mounted(&cluster));
}

#[tokio::test]
async fn a_bad_url_never_reaches_pods_that_serve() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.secret("postgres://bad");
    cluster.settle().await;
    cluster.finish_job("Failed");
    cluster.settle().await;
    assert_eq!(
        cluster.status_and_reason("Degraded"),
        "True MigrationFailed"
    );
    assert_eq!(read_url(&cluster), "postgres://one");

    // The corrected URL is tried at once, and the copy of the bad one is deleted.
    cluster.secret("postgres://two");
    migrated(&cluster).await;
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(read_url(&cluster), "postgres://two");
    assert_eq!(copies(&cluster), [mounted(&cluster)]);
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn a_rollback_returns_to_the_previous_url() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let before = mounted(&cluster);
    cluster.secret("postgres://migrates-but-does-not-serve");
    migrated(&cluster).await;
    assert_ne!(mounted(&cluster), before);
    assert_eq!(copies(&cluster).len(), 2, "old pods may restart");
    cluster.exceed_deadline();
    cluster.settle().await;
    assert_eq!(mounted(&cluster), before);
    assert_eq!(read_url(&cluster), "postgres://one");
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Ready"), "False RolledBack");
    assert_eq!(read_url(&cluster), "postgres://one");
    assert_idle(&cluster).await;
}

#[tokio::test]
async fn another_secret_passes_the_same_gates() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let before = mounted(&cluster);
    cluster.secret_with("db-5f2k", &[("database-url", "postgres://two")]);
    cluster.edit_spec(|spec| spec["database"]["secretRef"]["name"] = json!("db-5f2k"));
    cluster.settle().await;
    assert_eq!(mounted(&cluster), before, "the migration tries it first");
    // The generator of the name deletes the old secret.
    cluster.remove(Kind::Secret, "db");
    migrated(&cluster).await;
    assert_eq!(read_url(&cluster), "postgres://two");
    cluster.exceed_deadline();
    cluster.settle().await;
    assert_eq!(mounted(&cluster), before);
    assert_eq!(read_url(&cluster), "postgres://one");
}

#[tokio::test]
async fn a_copy_is_listed_before_it_is_created() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fail("create secrets", 500, 1);
    let (result, calls) = cluster.run().await;
    result.unwrap_err();
    assert_eq!(
        calls.last().map(String::as_str),
        Some("create secrets orders-url-*")
    );
    assert_eq!(cluster.object().status.unwrap().database_secrets.len(), 1);
    assert!(cluster.names(Kind::Job).is_empty());
    cluster.rolled_out().await;
}

#[tokio::test]
async fn a_deleted_copy_is_created_again_and_a_forged_one_is_replaced() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let name = mounted(&cluster);
    let copy = cluster.get("secrets", &name).unwrap();
    cluster.remove(Kind::Secret, &name);
    cluster
        .expect(&idle_calls_and(&["create secrets orders-url-*"]))
        .await;
    assert_eq!(read_url(&cluster), "postgres://one");
    let mut forged = copy;
    forged["data"]["database-url"] = json!(k8s_openapi::ByteString(b"postgres://evil".to_vec()));
    cluster.put("secrets", &name, forged);
    let (result, calls) = cluster.run().await;
    result.unwrap_err();
    assert_eq!(
        calls.last().map(String::as_str),
        Some("delete secrets orders-url-*")
    );
    cluster.settle().await;
    assert_eq!(read_url(&cluster), "postgres://one");
    assert_idle(&cluster).await;
}

#[tokio::test]
async fn a_foreign_secret_of_that_name_is_a_conflict() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let name = mounted(&cluster);
    let foreign = json!({"metadata": {"name": name, "namespace": "shop"}});
    cluster.put("secrets", &name, foreign.clone());
    cluster.run().await.0.unwrap();
    assert_eq!(cluster.status_and_reason("Conflict"), "True ForeignObject");
    let message = cluster.condition("Conflict").message;
    assert!(message.contains(&format!("Secret {name}")), "{message}");
    assert!(cluster.get("secrets", &name).unwrap()["data"].is_null());
}

#[tokio::test]
async fn with_reload_pods_read_the_secret_itself_and_a_change_needs_nothing() {
    let cluster = TestCluster::running(spec("Reload")).await;
    let idle = ["get secrets db", "get deployments orders"];
    assert_eq!(mounted(&cluster), "db");
    assert!(copies(&cluster).is_empty());
    cluster.expect(&idle).await;
    let generation = cluster.deployment()["metadata"]["generation"].clone();
    cluster.secret("postgres://two");
    cluster.settle().await;
    assert!(cluster.names(Kind::Job).is_empty(), "no migration");
    assert_eq!(cluster.deployment()["metadata"]["generation"], generation);
    cluster.expect(&idle).await;
    // Another secret is rolled out.
    cluster.secret_with("db-2", &[("database-url", "postgres://three")]);
    cluster.edit_spec(|spec| spec["database"]["secretRef"]["name"] = json!("db-2"));
    migrated(&cluster).await;
    assert_eq!(mounted(&cluster), "db-2");
}

#[tokio::test]
async fn with_reload_a_corrected_url_repeats_a_failed_migration() {
    let cluster = TestCluster::new(spec("Reload"));
    cluster.settle().await;
    let failed = cluster.names(Kind::Job);
    cluster.finish_job("Failed");
    cluster.settle().await;
    cluster.secret("postgres://two");
    cluster.settle().await;
    assert_ne!(cluster.names(Kind::Job), failed);
    cluster.finish_job("Complete");
    cluster.settle().await;
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
}

#[tokio::test]
async fn with_ignore_a_change_is_used_only_with_another_reference() {
    let cluster = TestCluster::running(spec("Ignore")).await;
    let before = mounted(&cluster);
    cluster.secret("postgres://two");
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(calls.iter().all(|call| is_read(call)), "{calls:?}");
    // Neither another image nor its migration uses the changed URL.
    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    migrated(&cluster).await;
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(mounted(&cluster), before);
    assert_eq!(read_url(&cluster), "postgres://one");
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    cluster.secret_with("db-2", &[("database-url", "postgres://three")]);
    cluster.edit_spec(|spec| spec["database"]["secretRef"]["name"] = json!("db-2"));
    migrated(&cluster).await;
    assert_eq!(read_url(&cluster), "postgres://three");
}

#[tokio::test]
async fn with_ignore_a_wrong_first_url_can_be_corrected() {
    let cluster = TestCluster::new(spec("Ignore"));
    migrated(&cluster).await;
    cluster.exceed_deadline();
    cluster.settle().await;
    cluster.secret("postgres://two");
    migrated(&cluster).await;
    assert_eq!(read_url(&cluster), "postgres://two");
}

#[tokio::test]
async fn a_missing_secret_leaves_the_pods_with_their_copy() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.fail("get secrets db", 404, 1);
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(
        !calls.iter().any(|call| call.starts_with("delete")),
        "{calls:?}"
    );
    assert_eq!(cluster.status_and_reason("Degraded"), "True SecretNotFound");
    assert_eq!(read_url(&cluster), "postgres://one");
}

#[tokio::test]
async fn without_pods_no_unused_copies_stay() {
    let mut spec = TestCluster::spec("orders:1");
    spec["replicas"] = json!(0);
    let cluster = TestCluster::running(spec).await;
    for url in ["postgres://two", "postgres://three", "postgres://four"] {
        cluster.secret(url);
        migrated(&cluster).await;
        cluster.roll_out();
        cluster.settle().await;
        assert_eq!(read_url(&cluster), url);
        assert_eq!(copies(&cluster), [mounted(&cluster)]);
    }
}

/// Lists another copy in the status, which a person may edit.
fn list(cluster: &TestCluster, name: &str) {
    let mut object = cluster.get("orderservices", "orders").unwrap();
    let listed = object["status"]["databaseSecrets"].as_array_mut().unwrap();
    listed.push(json!(name));
    cluster.put("orderservices", "orders", object);
}

#[tokio::test]
async fn only_copies_that_belong_to_the_orderservice_are_deleted() {
    let owned = |name: &str, owner: &str| {
        json!({"metadata": {"name": name, "namespace": "shop", "ownerReferences": [{
            "apiVersion": "orders.example.com/v1alpha1", "kind": "OrderService", "name": owner,
            "uid": format!("{owner}-uid"), "controller": true}]}})
    };
    for (name, owner, is_deleted) in [
        ("orders-url-0123456789", "osvc", true),
        ("orders-url-0123456789", "other", false),
        // A secret of a user that is to be deleted with the OrderService.
        ("orders-password", "osvc", false),
    ] {
        let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
        cluster.put("secrets", name, owned(name, owner));
        list(&cluster, name);
        cluster.settle().await;
        assert_eq!(
            cluster.get("secrets", name).is_none(),
            is_deleted,
            "{name} of {owner}"
        );
        let listed = cluster.object().status.unwrap().database_secrets;
        assert_eq!(listed, [mounted(&cluster)]);
    }
}
