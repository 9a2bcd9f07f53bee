//! What `status` reads and prints.

use serde_json::{Value, json};

use super::cluster::Fake;
use super::objects::{GOOD, NEXT, rolling_out, service};

#[tokio::test]
async fn status_shows_the_objects_as_a_tree_with_causes() {
    let fake = rolling_out();
    let text = fake.run("status orders --width 120").await.unwrap().out;
    for expected in [
        "OrderService shop/orders",
        "├─ Ready",
        "False  ",
        "RollingOut: 1 of 2 replicas are available",
        "├─ Job orders-migrate-1",
        "│  └─ Pod orders-migrate-1-a",
        "└─ Deployment orders",
        "   ├─ ReplicaSet orders-next",
        "   │  └─ Pod orders-next-a",
        "Unschedulable",
        "0/3 nodes are available: 3 Insufficient cpu.",
        "   └─ ReplicaSet orders-good",
        "      └─ Pod orders-good-a",
    ] {
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
    assert!(
        !text.contains("orders-failed"),
        "an old version without pods is not shown:\n{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text}");
    let colored = fake.run("status orders --color always").await.unwrap().out;
    assert!(colored.contains("\u{1b}[31m"), "{colored}");
}

#[tokio::test]
async fn status_as_json_has_everything() {
    let fake = rolling_out();
    let text = fake.run("status orders -o json").await.unwrap().out;
    let json: Value = serde_json::from_str(&text).unwrap();
    let [service] = json["items"].as_array().unwrap().as_slice() else {
        panic!("{json}")
    };
    assert_eq!(service["image"], NEXT);
    assert_eq!(service["conditions"][0]["type"], "Ready");
    assert_eq!(service["conditions"][0]["outdated"], false);
    assert_eq!(service["conditions"][1]["outdated"], true);
    assert_eq!(service["migrations"][0]["state"], "Complete");
    let sets = service["deployment"]["replicaSets"].as_array().unwrap();
    let proven: Vec<_> = sets
        .iter()
        .map(|set| (&set["image"], &set["proven"]))
        .collect();
    let (failed, yes, no) = (
        json!("registry.example.com/order-service:1.1.0"),
        json!(true),
        json!(false),
    );
    assert_eq!(
        proven,
        [(&json!(NEXT), &no), (&json!(GOOD), &yes), (&failed, &no)]
    );
    assert_eq!(sets[0]["pods"][0]["cause"]["reason"], "Unschedulable");
}

#[tokio::test]
async fn status_reads_a_namespace_with_the_same_number_of_requests_for_many_objects() {
    let fake = rolling_out();
    let calls = fake.run("status").await.unwrap().calls;
    let kinds = [
        "list orderservices",
        "list deployments",
        "list replicasets",
        "list jobs",
        "list pods",
    ];
    assert_eq!(calls, kinds);
    fake.add(service("second"));
    let run = fake.run("status").await.unwrap();
    assert_eq!(run.calls, kinds);
    assert!(
        run.out.contains("shop/orders") && run.out.contains("shop/second"),
        "{}",
        run.out
    );
    let everywhere = fake.run("status -A").await.unwrap();
    assert!(
        everywhere
            .paths
            .iter()
            .all(|path| !path.contains("/namespaces/")),
        "{:?}",
        everywhere.paths
    );
    let nothing = Fake::default().run("status").await.unwrap();
    assert_eq!(nothing.out, "");
    assert_eq!(
        nothing.notes,
        "there are no OrderServices in the namespace shop\n"
    );
}

#[tokio::test]
async fn every_page_of_a_list_is_read() {
    let fake = rolling_out();
    fake.page_size(1);
    let paged = fake.run("status orders -o json").await.unwrap();
    assert!(
        paged
            .calls
            .iter()
            .filter(|call| *call == "list pods")
            .count()
            > 2,
        "{:?}",
        paged.calls
    );
    fake.page_size(100);
    assert_eq!(
        paged.out,
        fake.run("status orders -o json").await.unwrap().out
    );
}

#[tokio::test]
async fn a_pod_without_a_reason_in_its_status_is_explained_by_its_events() {
    let fake = rolling_out();
    fake.change("orders-next-a", |pod| {
        pod["status"] = json!({
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": "order-service", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ContainerCreating"}}}],
        });
    });
    fake.add(json!({
        "kind": "Event", "metadata": {"name": "e", "namespace": "shop"}, "reason": "FailedMount", "type": "Warning",
        "message": "secret \"db\" not found", "lastTimestamp": "2026-01-01T00:00:00Z",
        "involvedObject": {"uid": "uid-orders-next-a"},
    }));
    let run = fake.run("status orders").await.unwrap();
    assert!(
        run.out.contains("FailedMount: secret \"db\" not found"),
        "{}",
        run.out
    );
    // Without the right to read events, everything else is shown.
    fake.fail("list events", 403, "events is forbidden");
    let run = fake.run("status orders").await.unwrap();
    assert!(run.out.contains("Pod orders-next-a"), "{}", run.out);
    assert!(run.notes.contains("events is forbidden"), "{}", run.notes);
}

#[tokio::test]
async fn the_text_of_a_registry_is_shown_to_its_end() {
    let fake = rolling_out();
    let text = format!(
        "Back-off pulling image: {} not found",
        "failed to resolve ".repeat(20)
    );
    fake.change("orders-next-a", |pod| {
        pod["status"] = json!({
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": "order-service", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": text}}}],
        });
    });
    let json: Value =
        serde_json::from_str(&fake.run("status orders -o json").await.unwrap().out).unwrap();
    let cause = &json["items"][0]["deployment"]["replicaSets"][0]["pods"][0]["cause"];
    assert_eq!(cause["reason"], "ImagePullBackOff");
    let message = cause["message"].as_str().unwrap();
    assert!(
        message.starts_with("ImagePullBackOff: ") && message.ends_with(" not found"),
        "{message}"
    );
}

#[tokio::test]
async fn a_pod_that_a_quota_rejects_is_explained_at_its_owner() {
    let fake = rolling_out();
    fake.remove("orders-next-a");
    fake.add(json!({
        "kind": "Event", "metadata": {"name": "e", "namespace": "shop"}, "reason": "FailedCreate", "type": "Warning",
        "message": "Error creating: pods \"orders-next-b\" is forbidden: exceeded quota: compute",
        "lastTimestamp": "2026-01-01T00:00:00Z", "involvedObject": {"uid": "uid-orders-next"},
    }));
    let text = fake.run("status orders --width 200").await.unwrap().out;
    let line = text
        .lines()
        .find(|line| line.contains("ReplicaSet orders-next"))
        .unwrap();
    assert!(
        line.contains("QuotaExceeded: exceeded quota: compute"),
        "{text}"
    );
}
