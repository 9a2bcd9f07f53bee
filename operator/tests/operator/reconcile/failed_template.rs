//! A template that failed stays failed when only the URL of the database changes, and the last good one gets the URL.

use order_operator::cluster::Kind;
use serde_json::json;

use super::assert_idle;
use super::database_secret::{copies, migrated, mounted, read_url, volume_secret};
use super::migration_pods::seconds_ago;
use super::pod_failures::{crashed, image_pull};
use super::retry::{not_ready, rolled_back};
use super::rollback::image;
use crate::test_cluster::TestCluster;

/// Changes the URL, and migrates.
async fn rotate(cluster: &TestCluster, url: &str) {
    cluster.secret(url);
    migrated(cluster).await;
}

async fn rolled_out(cluster: &TestCluster) {
    cluster.roll_out();
    cluster.settle().await;
}

#[tokio::test]
async fn a_failed_image_is_not_retried_with_a_changed_url_and_the_good_one_gets_the_url() {
    for pod in [crashed("p", 3), image_pull(600)] {
        let cluster = rolled_back(pod).await;
        for url in ["postgres://two", "postgres://three"] {
            let before = read_url(&cluster);
            cluster.secret(url);
            cluster.settle().await;
            assert_eq!(read_url(&cluster), before, "the migration tries it first");
            migrated(&cluster).await;
            assert_eq!(image(&cluster), "orders:1");
            assert_eq!(read_url(&cluster), url);
            assert_eq!(copies(&cluster).len(), 2, "old pods may restart");
            assert_eq!(cluster.status_and_reason("Progressing"), "True RollingOut");
            rolled_out(&cluster).await;
            assert_eq!(image(&cluster), "orders:1");
            assert_eq!(cluster.status_and_reason("Ready"), "False RolledBack");
            assert_eq!(cluster.status_and_reason("Progressing"), "False Complete");
            assert_eq!(copies(&cluster), [mounted(&cluster)]);
            // The maintenance needs a URL that is still valid, and not the image that failed.
            let cron_job = cluster.get("cronjobs", "orders-maintain").unwrap();
            let template = &cron_job["spec"]["jobTemplate"]["spec"]["template"];
            assert_eq!(volume_secret(template), mounted(&cluster));
            assert_eq!(template["spec"]["containers"][0]["image"], "orders:1");
            assert_idle(&cluster).await;
        }
        cluster.annotate("orders.example.com/retry", "1");
        cluster.settle().await;
        assert_eq!(image(&cluster), "orders:2");
        assert_eq!(read_url(&cluster), "postgres://three");
        rolled_out(&cluster).await;
        assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    }
}

#[tokio::test]
async fn a_failed_image_that_is_given_up_rolls_no_pods_with_the_url_again() {
    let cluster = rolled_back(crashed("p", 3)).await;
    rotate(&cluster, "postgres://two").await;
    rolled_out(&cluster).await;
    let generation = cluster.deployment()["metadata"]["generation"].clone();
    cluster.edit_spec(|spec| spec["image"] = json!("orders:1"));
    migrated(&cluster).await;
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    assert_eq!(cluster.deployment()["metadata"]["generation"], generation);
}

#[tokio::test]
async fn a_bad_url_after_a_failed_image_is_rolled_back_alone() {
    let cluster = rolled_back(crashed("p", 3)).await;
    rotate(&cluster, "postgres://bad").await;
    assert_eq!(read_url(&cluster), "postgres://bad");
    cluster.exceed_deadline();
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:1");
    assert_eq!(read_url(&cluster), "postgres://one");
    rolled_out(&cluster).await;
    assert_eq!(image(&cluster), "orders:1");
    assert_eq!(read_url(&cluster), "postgres://one");
    let message = cluster.condition("Degraded").message;
    assert!(
        message.contains("the changed URL of the database failed as well"),
        "{message}"
    );
    assert_idle(&cluster).await;

    rotate(&cluster, "postgres://two").await;
    assert_eq!(image(&cluster), "orders:1");
    assert_eq!(read_url(&cluster), "postgres://two");
    rolled_out(&cluster).await;
    // The first URL is the desired one again.
    rotate(&cluster, "postgres://one").await;
    assert_eq!(read_url(&cluster), "postgres://one");
}

#[tokio::test]
async fn a_failure_that_the_database_may_have_caused_is_retried_with_a_changed_url() {
    let cluster = rolled_back(not_ready()).await;
    rotate(&cluster, "postgres://two").await;
    assert_eq!(image(&cluster), "orders:2");
    assert_eq!(read_url(&cluster), "postgres://two");
}

#[tokio::test]
async fn a_url_that_crashes_the_pods_is_not_blamed_on_the_template() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    rotate(&cluster, "postgres://role-without-privileges").await;
    cluster.put("pods", "p", crashed("p", 3));
    cluster.exceed_deadline();
    cluster.settle().await;
    cluster.remove_pod("p");
    rolled_out(&cluster).await;
    assert_eq!(read_url(&cluster), "postgres://one");
    assert_idle(&cluster).await;
    rotate(&cluster, "postgres://two").await;
    assert_eq!(read_url(&cluster), "postgres://two");
    rolled_out(&cluster).await;
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
}

#[tokio::test]
async fn a_url_that_changes_during_the_rollout_of_a_bad_image_still_rolls_out() {
    let cluster = super::rollback::rolling().await;
    rotate(&cluster, "postgres://two").await;
    assert_eq!(image(&cluster), "orders:2");
    cluster.put("pods", "p", image_pull(600));
    cluster.exceed_deadline();
    cluster.settle().await;
    cluster.remove_pod("p");
    assert_eq!(image(&cluster), "orders:1");
    assert_eq!(
        read_url(&cluster),
        "postgres://two",
        "the image cannot be pulled with any URL"
    );
    rolled_out(&cluster).await;
    assert_eq!(copies(&cluster), [mounted(&cluster)]);
    assert!(!cluster.names(Kind::Job).is_empty());
}

#[tokio::test]
async fn the_changed_url_of_a_failed_template_needs_a_permit() {
    use order_operator::fleet::Limits;
    let cluster = rolled_back(crashed("p", 3)).await;
    let limits = |concurrent| Limits {
        concurrent,
        failures: 3,
    };
    let fleet = &cluster.context.records.fleet;
    let running = || {
        let metrics = &cluster.context.metrics();
        metrics.rollouts.with_label_values(&["running"]).get()
    };
    fleet.limit(limits(0));
    cluster.secret("postgres://two");
    cluster.settle().await;
    assert_eq!(
        cluster.status_and_reason("Progressing"),
        "False RolloutQueued"
    );
    assert_eq!(read_url(&cluster), "postgres://one");
    fleet.limit(limits(1));
    migrated(&cluster).await;
    assert_eq!(read_url(&cluster), "postgres://two");
    assert_eq!(running(), 1, "until it has rolled out");
    rolled_out(&cluster).await;
    assert_eq!(running(), 0);
    assert_idle(&cluster).await;
}

/// The pod of the migration cannot start.
fn migration_without_image() -> serde_json::Value {
    let created = seconds_ago(90);
    json!({
        "metadata": {"name": "m", "creationTimestamp": created},
        "status": {"phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": created}],
            "containerStatuses": [{"name": "migrate", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}]},
    })
}

/// Makes the Job that has not ended so old that its pods are examined.
fn age_job(cluster: &TestCluster) {
    for name in cluster.names(Kind::Job) {
        cluster.change(Kind::Job, &name, |job| {
            job["metadata"]["creationTimestamp"] = json!(seconds_ago(90));
        });
    }
}

#[tokio::test]
async fn a_changed_url_does_not_wait_for_the_migration_of_an_image_that_does_not_exist() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["image"] = json!("orders:typo"));
    cluster.settle().await;
    cluster.put("pods", "m", migration_without_image());
    cluster.secret("postgres://two");
    cluster.settle().await;
    age_job(&cluster);
    cluster.settle().await;
    assert_eq!(
        cluster.status_and_reason("Migrated"),
        "False MigrationRetrying"
    );
    assert_eq!(image(&cluster), "orders:1");
    assert_eq!(read_url(&cluster), "postgres://two");
    rolled_out(&cluster).await;
    assert_eq!(
        cluster.status_and_reason("Available"),
        "True MinimumReplicasAvailable"
    );
    let cron_job = cluster.get("cronjobs", "orders-maintain").unwrap();
    let template = &cron_job["spec"]["jobTemplate"]["spec"]["template"];
    assert_eq!(volume_secret(template), mounted(&cluster));
    assert_idle(&cluster).await;

    // A URL with which the pods do not serve is rolled back, and not tried again.
    cluster.secret("postgres://bad");
    cluster.settle().await;
    age_job(&cluster);
    cluster.settle().await;
    assert_eq!(read_url(&cluster), "postgres://bad");
    cluster.remove_pod("m");
    cluster.exceed_deadline();
    cluster.settle().await;
    cluster.put("pods", "m", migration_without_image());
    rolled_out(&cluster).await;
    assert_eq!(read_url(&cluster), "postgres://two");
    assert_eq!(image(&cluster), "orders:1");
    assert_idle(&cluster).await;
}

#[tokio::test]
async fn a_url_with_which_the_migration_reaches_no_database_does_not_roll_out() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    cluster.secret("postgres://bad");
    cluster.settle().await;
    age_job(&cluster);
    let mut pod = migration_without_image();
    pod["status"]["phase"] = json!("Failed");
    pod["status"]["containerStatuses"][0]["state"] =
        json!({"terminated": {"exitCode": 3, "startedAt": seconds_ago(80)}});
    cluster.put("pods", "m", pod);
    cluster.settle().await;
    assert_eq!(
        cluster.status_and_reason("Degraded"),
        "True DatabaseUnreachable"
    );
    assert_eq!(read_url(&cluster), "postgres://one");
    assert_idle(&cluster).await;
}
