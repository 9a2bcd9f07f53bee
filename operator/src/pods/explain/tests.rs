use serde_json::{Value, json};

use super::*;

const CREATED: &str = "2026-01-01T00:00:00Z";
const LATER: &str = "2026-01-01T00:00:10Z";

fn pod(status: Value) -> PodState {
    let metadata = json!({"name": "p", "uid": "u", "creationTimestamp": CREATED});
    serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
}

fn warning(reason: &str, message: &str) -> WarningEvent {
    serde_json::from_value(json!({
        "metadata": {"name": "e"}, "reason": reason, "message": message,
        "eventTime": null, "firstTimestamp": LATER, "lastTimestamp": LATER,
    }))
    .unwrap()
}

fn pending(conditions: Value) -> PodState {
    pod(json!({"phase": "Pending", "conditions": conditions}))
}

fn time(text: &str) -> Option<Timestamp> {
    Some(text.parse().unwrap())
}

#[test]
fn a_pod_without_a_node_is_unschedulable() {
    let nodes = "0/3 nodes are available: 3 Insufficient cpu.";
    let stuck = pending(
        json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": nodes, "lastTransitionTime": LATER}]),
    );
    let failure = explain(&stuck, &[]).unwrap();
    assert_eq!(
        (failure.reason, failure.class),
        ("Unschedulable", Transient)
    );
    assert_eq!(failure.message, format!("Unschedulable: {nodes}"));
    assert_eq!(failure.detail, format!("pod p: Unschedulable: {nodes}"));
    assert_eq!(failure.since, time(LATER));
    assert!(!needs_events(&stuck));
}

#[test]
fn a_pod_that_is_new_or_starts_has_no_failure() {
    assert_eq!(explain(&pod(Value::Null), &[]), None);
    assert_eq!(explain(&pending(json!([])), &[]), None);
    let scheduled = pending(json!([{"type": "PodScheduled", "status": "True"}]));
    assert_eq!(explain(&scheduled, &[]), None);
    assert!(needs_events(&scheduled));
    let done =
        pod(json!({"phase": "Succeeded", "conditions": [{"type": "Ready", "status": "False"}]}));
    assert_eq!(explain(&done, &[]), None);
    assert!(!needs_events(&done));
}

#[test]
fn volumes_that_cannot_be_mounted_are_found_in_events() {
    let starting = pod(json!({
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": CREATED}],
        "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}}}],
    }));
    assert!(needs_events(&starting));
    let text = r#"MountVolume.SetUp failed for volume "ca" : secret "ca" not found"#;
    let warnings = [warning("FailedMount", text), warning("Other", "no")];
    let failure = explain(&starting, &warnings).unwrap();
    assert_eq!((failure.reason, failure.class), ("FailedMount", Permanent));
    assert_eq!(failure.message, format!("FailedMount: {text}"));
    assert_eq!(failure.since, time(LATER));
}

#[test]
fn the_time_of_a_waiting_container_is_that_of_the_scheduling() {
    let pull = pod(json!({
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": LATER}],
        "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}],
    }));
    let failure = explain(&pull, &[]).unwrap();
    assert_eq!(failure.message, "ImagePullBackOff: no such image");
    assert_eq!(failure.since, time(LATER));
    assert!(!needs_events(&pull));
}

#[test]
fn an_evicted_pod_has_not_failed_by_itself() {
    let evicted = pod(json!({
        "phase": "Failed",
        "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting"}],
        "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 143}}}],
    }));
    let failure = explain(&evicted, &[]).unwrap();
    assert_eq!((failure.reason, failure.class), ("Disrupted", Transient));
    assert_eq!(
        failure.message,
        "Disrupted: EvictionByEvictionAPI: Eviction API: evicting"
    );
    let rejected =
        pod(json!({"phase": "Failed", "reason": "OutOfcpu", "message": "node has no cpu"}));
    let failure = explain(&rejected, &[]).unwrap();
    assert_eq!(failure.message, "Disrupted: OutOfcpu: node has no cpu");
}

#[test]
fn a_failing_probe_is_found_in_events() {
    let unready = pod(json!({
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady",
            "message": "containers with unready status: [order-service]", "lastTransitionTime": LATER}],
        "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"running": {"startedAt": LATER}}}],
    }));
    assert!(needs_events(&unready));
    let failure = explain(&unready, &[]).unwrap();
    assert_eq!(
        failure.message,
        "NotReady: containers with unready status: [order-service]"
    );
    let probe = "Readiness probe failed: HTTP probe failed with statuscode: 503";
    let failure = explain(&unready, &[warning("Unhealthy", probe)]).unwrap();
    assert_eq!((failure.reason, failure.class), ("NotReady", Transient));
    assert_eq!(failure.message, format!("NotReady: {probe}"));
    assert_eq!(failure.since, time(LATER));
}

#[test]
fn a_pod_that_is_being_deleted_has_no_failure() {
    let mut leaving = pending(json!([{"type": "PodScheduled", "status": "False"}]));
    assert!(explain(&leaving, &[]).is_some());
    leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
    assert_eq!(explain(&leaving, &[]), None);
}

#[test]
fn a_failure_lasts_from_its_time_on() {
    let second = |text: &str| text.parse::<Timestamp>().unwrap();
    let minute = std::time::Duration::from_secs(60);
    let stuck =
        pending(json!([{"type": "PodScheduled", "status": "False", "lastTransitionTime": LATER}]));
    let failure = explain(&stuck, &[]).unwrap();
    assert!(!failure.has_lasted(minute, second("2026-01-01T00:01:09Z")));
    assert!(failure.has_lasted(minute, second("2026-01-01T00:01:10Z")));
    let unknown = PodFailure {
        since: None,
        ..failure
    };
    assert!(!unknown.has_lasted(minute, second(LATER)));
}
