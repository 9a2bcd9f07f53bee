use serde_json::json;

use super::*;

fn metadata(version: &str) -> ObjectMeta {
    serde_json::from_value(json!({
        "name": "a", "namespace": "n", "uid": "u", "resourceVersion": version,
        "ownerReferences": [{"apiVersion": "orders.example.com/v1alpha1", "kind": "OrderService",
            "name": "a", "uid": "o", "controller": true}],
    }))
    .unwrap()
}

#[test]
fn a_change_of_only_the_status_needs_no_reconcile() {
    let with = |version: &str, more: serde_json::Value| {
        let mut metadata = metadata(version);
        let own = json!({"manager": MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {}}});
        metadata.managed_fields = serde_json::from_value(json!([own, more])).unwrap();
        metadata
    };
    let status = |time: &str| {
        json!({"manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
            "time": time, "fieldsV1": {"f:status": {}}})
    };
    let edit = |time: &str| {
        json!({"manager": "kubectl-edit", "operation": "Update", "time": time,
            "fieldsV1": {"f:spec": {"f:maxReplicas": {}}}})
    };
    let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:15Z");
    for kind in Kind::WATCHED {
        let index = Index::default();
        index.record_match(kind, &with("5", status(early)), "d");
        let woken = index.observe(kind, &with("6", status(late)));
        // The status of these shows the progress of the rollout and of the migration.
        let expected = matches!(kind, Kind::Deployment | Kind::Job);
        assert_eq!(woken, expected, "{kind:?}");
        assert_eq!(index.is_current(kind, "n", "a", "d"), !expected);
        assert!(index.observe(kind, &with("7", edit(early))), "{kind:?}");
        assert!(!index.is_current(kind, "n", "a", "d"));
        // A change that has not been compared is not current after a change of the status.
        index.record_match(kind, &with("8", edit(early)), "d");
        assert!(index.observe(kind, &with("9", edit(late))), "{kind:?}");
        assert!(index.observe(kind, &with("10", edit(late))), "{kind:?}");
    }
    let index = Index::default();
    index.record_match(Kind::Service, &metadata("5"), "d");
    assert!(
        index.observe(Kind::Service, &metadata("6")),
        "without managedFields every event is a change"
    );
}

#[test]
fn a_late_event_of_a_deletion_does_not_remove_a_newer_object() {
    let index = Index::default();
    index.record_match(Kind::Service, &metadata("5"), "d");
    let mut old = metadata("4");
    old.uid = Some("old".to_owned());
    index.remove_deleted(Kind::Service, &old);
    assert!(index.is_current(Kind::Service, "n", "a", "d"));
    index.remove_deleted(Kind::Service, &metadata("6"));
    assert!(!index.is_current(Kind::Service, "n", "a", "d"));
}

#[test]
fn a_newer_version_is_compared_again_and_an_older_event_is_ignored() {
    let index = Index::default();
    let is_current = || index.is_current(Kind::Service, "n", "a", "d");
    index.record_match(Kind::Service, &metadata("5"), "d");
    assert!(is_current());
    assert!(!index.observe(Kind::Service, &metadata("4")), "older");
    assert!(
        !index.observe(Kind::Service, &metadata("5")),
        "the operator's own write"
    );
    assert!(is_current());
    assert!(!index.is_current(Kind::Service, "n", "a", "e"));
    assert!(!index.is_current(Kind::Service, "n", "a", "no digest"));
    assert!(index.observe(Kind::Service, &metadata("6")));
    assert!(!is_current());
    assert!(
        index.observe(Kind::Service, &metadata("6")),
        "a change until it is compared"
    );
    assert!(index.matched_before(Kind::Service, "n", "a", "d"));
    // The response to a write arrives after the event of a later write.
    index.record_match(Kind::Service, &metadata("5"), "d");
    assert!(!is_current());
    assert_eq!(index.owned(Kind::Service, "n", "a", "o").len(), 1);
    assert!(index.owned(Kind::Service, "n", "a", "x").is_empty());
    index.remove(Kind::Service, "n", "a");
    assert!(index.owned(Kind::Service, "n", "a", "o").is_empty());
}
