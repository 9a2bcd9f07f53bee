//! The CronJob follows the spec once a version has rolled out, and is deleted at once when it is disabled.

use order_operator::cluster::Kind;
use serde_json::{Value, json};

use super::database_secret::volume_secret;
use super::{IDLE_CALLS, idle_calls_and};
use crate::test_cluster::TestCluster;

const NAME: &str = "orders-maintain";

fn cron_job(cluster: &TestCluster) -> Value {
    cluster.get("cronjobs", NAME).expect("there is no CronJob")
}

/// The pod of each run.
fn pod(cluster: &TestCluster) -> Value {
    cron_job(cluster)["spec"]["jobTemplate"]["spec"]["template"]["spec"].clone()
}

fn image(cluster: &TestCluster) -> String {
    pod(cluster)["containers"][0]["image"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_version_maintains_only_after_it_has_rolled_out() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.settle().await;
    cluster.finish_job("Complete");
    cluster.settle().await;
    assert!(cluster.names(Kind::CronJob).is_empty(), "still rolling out");
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:1");

    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:1", "the migration runs");
    cluster.finish_job("Complete");
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:1", "the rollout is in progress");
    cluster.exceed_deadline();
    cluster.settle().await;
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(
        cluster.status_and_reason("Degraded"),
        "True ProgressDeadlineExceeded"
    );
    assert_eq!(image(&cluster), "orders:1", "the rollout was rolled back");

    cluster.edit_spec(|spec| spec["image"] = json!("orders:3"));
    cluster.settle().await;
    cluster.finish_job("Complete");
    cluster.settle().await;
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:3");
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn the_schedule_changes_while_pods_are_unavailable() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.change(Kind::Deployment, "orders", |deployment| {
        deployment["status"]["availableReplicas"] = json!(0);
    });
    cluster.edit_spec(|spec| {
        spec["maintenance"] = json!({"schedule": "0 5 * * *", "suspend": true});
    });
    cluster.settle().await;
    let spec = &cron_job(&cluster)["spec"];
    assert_eq!(spec["schedule"], "0 5 * * *");
    assert_eq!(spec["suspend"], true);
}

#[tokio::test]
async fn a_disabled_cron_job_is_deleted_while_a_migration_fails() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    cluster.settle().await;
    cluster.finish_job("Failed");
    cluster.settle().await;
    cluster.edit_spec(|spec| spec["maintenance"] = json!({"enabled": false}));
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(
        calls.contains(&"delete cronjobs orders-maintain".to_owned()),
        "{calls:?}"
    );
    assert!(cluster.names(Kind::CronJob).is_empty());
}

#[tokio::test]
async fn a_manual_change_is_reverted_and_a_missing_cron_job_is_created() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.change(Kind::CronJob, NAME, |cron_job| {
        cron_job["spec"]["suspend"] = json!(true);
    });
    let corrected = [
        "get cronjobs orders-maintain",
        "apply cronjobs orders-maintain",
        "event DriftCorrected",
    ];
    cluster.expect(&idle_calls_and(&corrected)).await;
    assert_eq!(cron_job(&cluster)["spec"]["suspend"], false);
    cluster.remove(Kind::CronJob, NAME);
    cluster.settle().await;
    cluster.expect(&IDLE_CALLS).await;
    cron_job(&cluster);
}

#[tokio::test]
async fn a_run_reads_the_settings_of_the_pods_that_serve() {
    let mut spec = TestCluster::spec("orders:1");
    spec["settings"] = json!({"eventRetention": "90d"});
    let cluster = TestCluster::running(spec).await;
    let config_map = || {
        let source = &pod(&cluster)["containers"][0]["envFrom"][0]["configMapRef"];
        let name = source["name"].as_str().unwrap().to_owned();
        cluster
            .get("configmaps", &name)
            .expect("its settings exist")
    };
    assert_eq!(config_map()["data"]["EVENT_RETENTION"], "90d");

    cluster.edit_spec(|spec| spec["settings"] = json!({"eventRetention": "30d"}));
    cluster.settle().await;
    assert_eq!(
        config_map()["data"]["EVENT_RETENTION"],
        "90d",
        "the pods are replaced first"
    );
    cluster.roll_out();
    let (result, calls) = cluster.run().await;
    result.unwrap();
    let at = |call: &str| calls.iter().position(|made| made == call).unwrap();
    assert!(
        at("apply cronjobs orders-maintain") < at("delete configmaps orders-config-*"),
        "a run that starts in between finds its settings"
    );
    assert_eq!(config_map()["data"]["EVENT_RETENTION"], "30d");
    assert_eq!(cluster.names(Kind::ConfigMap).len(), 1);
}

#[tokio::test]
async fn removed_orders_are_written_to_the_claim() {
    let mut spec = TestCluster::spec("orders:1");
    spec["settings"] = json!({"orderRetention": "2y"});
    spec["maintenance"] = json!({"archive": {"claimName": "orders-archive"}});
    let cluster = TestCluster::running(spec).await;
    let pod = pod(&cluster);
    let container = &pod["containers"][0];
    let directory = "/var/lib/order-service/archive";
    assert_eq!(
        container["args"],
        json!(["maintain", "--archive-to", directory])
    );
    assert_eq!(
        container["volumeMounts"][1],
        json!({"name": "archive", "mountPath": directory})
    );
    assert_eq!(
        pod["volumes"][1],
        json!({"name": "archive", "persistentVolumeClaim": {"claimName": "orders-archive"}})
    );
}

#[tokio::test]
async fn a_foreign_cron_job_is_reported_and_not_changed() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    let foreign =
        json!({"metadata": {"name": NAME, "namespace": "shop"}, "spec": {"suspend": false}});
    cluster.put("cronjobs", NAME, foreign.clone());
    let cluster = cluster.rolled_out().await;
    assert_eq!(cron_job(&cluster)["spec"], foreign["spec"]);
    assert_eq!(cluster.status_and_reason("Conflict"), "True ForeignObject");
    assert!(
        cluster
            .condition("Conflict")
            .message
            .ends_with("CronJob orders-maintain")
    );
}

#[tokio::test]
async fn the_copy_and_the_settings_that_runs_read_stay_until_the_cron_job_follows() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let read = |cluster: &TestCluster| {
        let job = cluster.get("cronjobs", "orders-maintain").unwrap();
        let template = &job["spec"]["jobTemplate"]["spec"]["template"];
        let settings = &template["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"];
        (
            volume_secret(template),
            settings.as_str().unwrap().to_owned(),
        )
    };
    cluster.secret("postgres://two");
    cluster.edit_spec(|spec| spec["settings"] = json!({"poolMaxSize": 7}));
    cluster.settle().await;
    cluster.finish_job("Complete");
    cluster.settle().await;
    // Both change again before the operator sees the end of the rollout.
    cluster.secret("postgres://three");
    cluster.edit_spec(|spec| spec["settings"] = json!({"poolMaxSize": 8}));
    cluster.roll_out();
    cluster.settle().await;
    let (copy, settings) = read(&cluster);
    assert!(cluster.get("secrets", &copy).is_some());
    assert!(cluster.get("configmaps", &settings).is_some());

    let cluster = cluster.rolled_out().await;
    assert_ne!(read(&cluster), (copy.clone(), settings.clone()));
    assert!(cluster.get("secrets", &copy).is_none());
    assert!(cluster.get("configmaps", &settings).is_none());
}

#[tokio::test]
async fn what_a_run_reads_stays_until_the_run_has_ended() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let template = cron_job(&cluster)["spec"]["jobTemplate"]["spec"]["template"].clone();
    let copy = volume_secret(&template);
    let settings = template["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"].clone();
    let settings = settings.as_str().unwrap();
    // The API server gives a Job without labels those of its pods. The CronJob owns it.
    let run = json!({
        "metadata": {
            "name": "orders-maintain-29000000", "namespace": "shop", "labels": template["metadata"]["labels"],
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": NAME, "uid": "u", "controller": true}],
        },
        "spec": {"template": template}, "status": {"active": 1},
    });
    cluster.edit_spec(|spec| spec["settings"] = json!({"poolMaxSize": 7}));
    cluster.secret("postgres://two");
    let cluster = {
        cluster.settle().await;
        cluster.finish_job("Complete");
        cluster.put("jobs", "orders-maintain-29000000", run);
        cluster.settle().await;
        cluster.roll_out();
        cluster.settle().await;
        cluster
    };
    assert_ne!(
        volume_secret(&cron_job(&cluster)["spec"]["jobTemplate"]["spec"]["template"]),
        copy
    );
    // A pod of another attempt mounts both.
    assert!(cluster.get("secrets", &copy).is_some());
    assert!(cluster.get("configmaps", settings).is_some());
    let ended = |job: &mut Value| {
        job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    };
    cluster.change(Kind::Job, "orders-maintain-29000000", ended);
    cluster.settle().await;
    assert!(cluster.get("secrets", &copy).is_none());
    assert!(cluster.get("configmaps", settings).is_none());
    cluster.expect(&IDLE_CALLS).await;
}
