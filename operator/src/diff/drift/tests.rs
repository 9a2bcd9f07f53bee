use serde_json::json;

use super::*;
use crate::diff::compare::differences;

#[test]
fn drift_has_the_field_and_its_manager() {
    let desired =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "x"}]}}}});
    let live =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "y"}]}}}});
    let metadata: ObjectMeta = serde_json::from_value(json!({"managedFields": [
        {"manager": MANAGER, "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": {}},
        {"manager": "late", "operation": "Update", "time": "2026-03-01T00:00:00Z",
         "fieldsV1": {"f:metadata": {}}},
        {"manager": "kubectl-edit", "operation": "Update", "time": "2026-02-01T00:00:00Z",
         "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"a\"}": {"f:image": {}}}}}}}},
    ]}))
    .unwrap();
    let drift = attribute(&differences(&desired, &live), &metadata);
    assert_eq!(
        drift,
        [Drift {
            field: "spec.template.spec.containers[name=a].image".to_owned(),
            author: Author::Owner("kubectl-edit".to_owned()),
            time: Some("2026-02-01T00:00:00Z".parse().unwrap()),
        }]
    );
    let removed = attribute(&differences(&json!({"data": 1}), &json!({})), &metadata);
    let removed = removed.first().unwrap();
    assert_eq!(removed.author, Author::LastWriter("late".to_owned()));
    assert_eq!(removed.author.to_string(), "removed, probably by late");
}

#[test]
fn a_change_without_another_field_manager_is_not_attributed_to_one() {
    let desired = json!({"spec": {"a": 1}});
    let author = |managed: serde_json::Value| {
        let metadata = json!({"managedFields": managed});
        let metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();
        let found = differences(&desired, &json!({"spec": {"a": 2}}));
        assert_eq!(owned_by_others(&found, &metadata), []);
        attribute(&found, &metadata).remove(0).author
    };
    let own =
        json!({"manager": MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:a": {}}}});
    let status = json!({"manager": "kube-controller-manager", "subresource": "status",
        "operation": "Update", "fieldsV1": {"f:status": {}}});
    assert_eq!(author(json!([own, status])), Author::Admission);
    assert_eq!(author(json!([status])), Author::Unrecorded);
}

#[test]
fn annotations_of_the_operator_are_not_reported_beside_other_fields() {
    let desired =
        json!({"metadata": {"annotations": {"orders.example.com/applied": "a"}}, "spec": 1});
    let names = |live| -> Vec<String> {
        without_own_annotations(differences(&desired, &live))
            .iter()
            .map(|field| field.path.to_string())
            .collect()
    };
    assert_eq!(
        names(json!({"metadata": {"annotations": {}}, "spec": 2})),
        ["spec"]
    );
    assert_eq!(
        names(json!({"metadata": {"annotations": {}}, "spec": 1})),
        ["metadata.annotations.orders.example.com/applied"]
    );
}
