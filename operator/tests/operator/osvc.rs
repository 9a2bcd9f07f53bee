//! The kubectl plugin against a scripted API server: what it reads, prints and writes.

mod cluster;
mod objects;
mod process;

use order_operator::osvc::OsvcError;
use serde_json::{Value, json};

use cluster::Fake;
use objects::{GOOD, NEXT, rolling_out};

#[tokio::test]
async fn status_shows_the_objects_as_a_tree_with_causes() {
    let fake = rolling_out();
    let text = fake.run("status orders --width 120").await.unwrap().out;
    // Ages depend on the time of the test.
    let ages = |line: &str| line.replace("9d", "");
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
        assert!(ages(&text).contains(expected), "{expected}:\n{text}");
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
    fake.add(objects::service("second"));
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

#[tokio::test]
async fn migrate_logs_prints_the_newest_pod() {
    let fake = rolling_out();
    fake.add(objects::migration_pod(
        "orders-migrate-1-b",
        "2026-01-02T00:00:00Z",
    ));
    let run = fake
        .run("migrate-logs orders --follow --tail 5")
        .await
        .unwrap();
    assert_eq!(run.out, "\"log of orders-migrate-1-b\"");
    assert_eq!(run.notes, "pod orders-migrate-1-b\n");
    let last = run.paths.last().unwrap();
    assert!(
        last.contains("follow=true") && last.contains("tailLines=5"),
        "{last}"
    );
    fake.change("orders-migrate-1-b", |pod| {
        pod["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient cpu."}]});
    });
    let error = fake.run("migrate-logs orders").await.unwrap_err();
    assert!(
        error.to_string().contains("has not started: Unschedulable"),
        "{error}"
    );
    fake.remove("orders-migrate-1-a");
    fake.remove("orders-migrate-1-b");
    let error = fake.run("migrate-logs orders").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a Job that succeeded is deleted"),
        "{error}"
    );
}

#[tokio::test]
async fn errors_name_the_cause_and_have_an_exit_code() {
    for words in [
        "status nothing",
        "retry nothing",
        "pause nothing",
        "rollback nothing",
        "migrate-logs nothing",
    ] {
        let error = rolling_out().run(words).await.unwrap_err();
        assert_eq!(error.exit_code(), 3, "{words}: {error}");
        let text = "OrderService nothing does not exist in the namespace shop";
        assert_eq!(error.to_string(), text, "{words}");
    }
    for (code, message, exit_code, expected) in [
        (
            403,
            "orderservices is forbidden: User \"a\" cannot",
            4,
            "not permitted: orderservices is forbidden",
        ),
        (401, "Unauthorized", 4, "rejects the credential"),
        (500, "etcd is down", 1, "etcd is down"),
        (0, "", 1, "no response within 100ms"),
    ] {
        for (words, call) in [
            ("status orders", "get orderservices"),
            ("status", "list orderservices"),
            ("retry orders", "patch orderservices"),
            ("migrate-logs orders", "log pods"),
        ] {
            let fake = rolling_out();
            fake.fail(call, code, message);
            let error = fake.run(words).await.unwrap_err();
            assert_eq!(error.exit_code(), exit_code, "{words}: {error}");
            assert!(error.to_string().contains(expected), "{words}: {error}");
        }
    }
    let fake = Fake::default();
    fake.not_installed();
    let error = fake.run("status orders").await.unwrap_err();
    assert!(matches!(error, OsvcError::NotInstalled), "{error}");
    assert_eq!(error.exit_code(), 3);
}
