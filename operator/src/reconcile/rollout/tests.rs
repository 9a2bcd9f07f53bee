use serde_json::json;

use super::*;
use crate::build::DATABASE_VOLUME;
use crate::build::labels::{REVISION, SECRET_DIGEST};
use crate::pods::FailureClass;

fn template(revision: &str) -> Template {
    Template(json!({
        "metadata": {"labels": {REVISION: revision}},
        "spec": {"containers": [{"image": format!("orders:{revision}")}]},
    }))
}

fn running(revision: &str) -> Rollout {
    Rollout {
        observed: true,
        desired_replicas: 2,
        replicas: 2,
        updated: 2,
        available: 2,
        ready: 2,
        current: Some(template(revision)),
        good_revision: Some(revision.to_owned()),
        ..Rollout::default()
    }
}

fn rolling(to: &str, from: &str) -> Rollout {
    Rollout {
        replicas: 3,
        updated: 1,
        current: Some(template(to)),
        last_good: Some(template(from)),
        good_revision: Some(from.to_owned()),
        ..running(from)
    }
}

fn failed(revision: &str) -> FailedRevision {
    FailedRevision {
        revision: revision.to_owned(),
        reason: "CrashLoopBackOff".to_owned(),
        message: "m".to_owned(),
        ..FailedRevision::default()
    }
}

/// The failure of a pod whose container was restarted this often.
fn pod_failure(reason: &'static str, restarts: i32) -> PodFailure {
    PodFailure {
        reason,
        class: FailureClass::Transient,
        message: format!("{reason}: short"),
        detail: format!("pod p: {reason}: full"),
        pod: None,
        since: None,
        restarts,
    }
}

#[test]
fn nothing_runs_before_the_first_migration() {
    let nothing = Rollout::default();
    assert_eq!(
        plan(&template("a"), &nothing, Permitted::Nothing, None, None),
        None
    );
    let first = plan(&template("a"), &nothing, Permitted::Template, None, None).unwrap();
    assert_eq!(first.template, template("a"));
    assert_eq!((first.last_good, first.good_revision), (None, None));
}

#[test]
fn pods_are_unchanged_until_the_migration_is_complete() {
    let before = plan(
        &template("b"),
        &running("a"),
        Permitted::Nothing,
        None,
        None,
    )
    .unwrap();
    assert_eq!(before.template, template("a"));
    let after = plan(
        &template("b"),
        &running("a"),
        Permitted::Template,
        None,
        None,
    )
    .unwrap();
    assert_eq!(after.template, template("b"));
    assert_eq!(after.last_good, Some(template("a")));
    assert_eq!(after.good_revision.as_deref(), Some("a"));
}

#[test]
fn a_rollout_that_is_complete_becomes_the_good_one() {
    let mut live = rolling("b", "a");
    (live.replicas, live.updated) = (2, 2);
    let done = plan(&template("b"), &live, Permitted::Template, None, None).unwrap();
    assert_eq!(done.good_revision.as_deref(), Some("b"));
    assert_eq!(done.last_good, None);
}

#[test]
fn zero_pods_prove_nothing_and_the_last_good_template_is_kept() {
    let mut live = rolling("b", "a");
    (live.desired_replicas, live.replicas, live.updated) = (0, 0, 0);
    (live.available, live.ready) = (0, 0);
    let scaled = plan(&template("b"), &live, Permitted::Template, None, None).unwrap();
    assert_eq!(scaled.good_revision.as_deref(), Some("a"));
    assert_eq!(scaled.last_good, Some(template("a")));
}

#[test]
fn a_failed_rollout_is_rolled_back_to_the_last_good_template() {
    let crash = pod_failure("OOMKilled", 3);
    let live = rolling("b", "a");
    let crashed = plan(
        &template("b"),
        &live,
        Permitted::Template,
        None,
        Some(&crash),
    )
    .unwrap();
    assert_eq!(crashed.template, template("a"));
    let failed = crashed.failed.unwrap();
    assert_eq!(
        (failed.reason.as_str(), failed.cause.as_deref()),
        ("CrashLoopBackOff", Some("OOMKilled"))
    );
    let twice = pod_failure("OOMKilled", 2);
    let crashing = plan(
        &template("b"),
        &live,
        Permitted::Template,
        None,
        Some(&twice),
    )
    .unwrap();
    assert_eq!(crashing.failed, None, "a crash loop needs three restarts");

    let mut live = rolling("b", "a");
    live.deadline_exceeded = Some("timed out".to_owned());
    let deadline_exceeded = plan(&template("b"), &live, Permitted::Template, None, None).unwrap();
    assert_eq!(deadline_exceeded.template, template("a"));
    assert_eq!(deadline_exceeded.failed.unwrap().message, "timed out");

    let unschedulable = pod_failure("Unschedulable", 0);
    let known = plan(
        &template("b"),
        &live,
        Permitted::Template,
        None,
        Some(&unschedulable),
    )
    .unwrap();
    let failed = known.failed.unwrap();
    assert_eq!(failed.message, "pod p: Unschedulable: full");
    assert_eq!(failed.cause.as_deref(), Some("Unschedulable"));

    (live.observed, live.deadline_exceeded) = (false, None);
    let stale = plan(&template("b"), &live, Permitted::Template, None, None).unwrap();
    assert_eq!(
        stale.template,
        template("b"),
        "a status of an older spec is ignored"
    );
}

#[test]
fn a_failed_revision_is_not_retried_until_another_is_desired() {
    let failed = failed("b");
    let again = plan(
        &template("b"),
        &running("a"),
        Permitted::Template,
        Some(&failed),
        None,
    )
    .unwrap();
    assert_eq!(again.template, template("a"));
    assert_eq!(again.failed.as_ref(), Some(&failed));
    let other = plan(
        &template("c"),
        &running("a"),
        Permitted::Template,
        Some(&failed),
        None,
    )
    .unwrap();
    assert_eq!((other.template, other.failed), (template("c"), None));
    let back = plan(
        &template("a"),
        &running("a"),
        Permitted::Template,
        Some(&failed),
        None,
    )
    .unwrap();
    assert_eq!((back.template, back.failed), (template("a"), None));
}

#[test]
fn a_failed_first_rollout_is_kept_because_there_is_nothing_to_roll_back_to() {
    let mut live = rolling("a", "a");
    (live.last_good, live.good_revision, live.available) = (None, None, 0);
    live.deadline_exceeded = Some("timed out".to_owned());
    let first = plan(&template("a"), &live, Permitted::Template, None, None).unwrap();
    assert_eq!(first.template, template("a"));
    assert!(first.failed.is_some());
}

#[test]
fn a_change_during_a_rollout_keeps_the_last_good_template() {
    let next = plan(
        &template("c"),
        &rolling("b", "a"),
        Permitted::Template,
        None,
        None,
    )
    .unwrap();
    assert_eq!(next.template, template("c"));
    assert_eq!(next.last_good, Some(template("a")));
}

#[test]
fn a_good_template_is_not_rolled_back_when_its_pods_crash_later() {
    let mut live = running("a");
    live.available = 0;
    let crash = pod_failure("CrashLoopBackOff", 9);
    let plan = plan(
        &template("a"),
        &live,
        Permitted::Template,
        None,
        Some(&crash),
    )
    .unwrap();
    assert_eq!(plan.failed, None);
}

#[test]
fn a_crash_loop_is_reported_before_the_failure_that_has_lasted_longest() {
    let since = |second, failure| PodFailure {
        since: jiff::Timestamp::from_second(second).ok(),
        ..failure
    };
    let failures = || {
        vec![
            pod_failure("PodRejected", 0),
            since(20, pod_failure("ImagePullBackOff", 0)),
            since(10, pod_failure("Unschedulable", 0)),
        ]
    };
    let reason = |failures| main_failure(failures).map(|failure| failure.reason);
    assert_eq!(reason(failures()), Some("Unschedulable"));
    let mut with_crash = failures();
    with_crash.push(since(30, pod_failure("OOMKilled", 3)));
    assert_eq!(reason(with_crash), Some("OOMKilled"));
    assert_eq!(reason(Vec::new()), None);
}

#[test]
fn the_status_of_an_older_spec_is_ignored() {
    let deployment = |observed: i64| -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"generation": 2},
            "status": {"observedGeneration": observed, "conditions": [
                {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"},
                {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
                    "message": "pods \"p\" is forbidden: exceeded quota: q"},
            ]},
        }))
        .unwrap()
    };
    let stale = Rollout::from_deployment(&deployment(1));
    assert_eq!((stale.deadline_exceeded, stale.rejected), (None, None));
    let current = Rollout::from_deployment(&deployment(2));
    assert_eq!(current.deadline_exceeded.as_deref(), Some("late"));
    assert_eq!(current.rejected.unwrap().reason, "QuotaExceeded");
}

#[test]
fn templates_that_differ_only_in_the_secret_are_equal_without_it() {
    let template = |revision: &str, secret: &str, digest: &str, image: &str| {
        Template(json!({
            "metadata": {"labels": {(REVISION): revision}, "annotations": {(SECRET_DIGEST): digest}},
            "spec": {"containers": [{"image": image}], "volumes": [
                {"name": "other", "secret": {"secretName": "other"}},
                {"name": DATABASE_VOLUME, "secret": {"secretName": secret}},
            ]},
        }))
        .without_secret()
    };
    let before = template("1", "db-1", "a", "orders:1");
    assert_eq!(before, template("2", "db-2", "b", "orders:1"));
    assert_ne!(before, template("2", "db-1", "a", "orders:2"));
}
