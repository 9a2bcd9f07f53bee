//! The field managers that changed fields that the operator applies.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

use super::compare::{Path, Step};
use crate::build::labels::MANAGER;

/// A field that another field manager changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drift {
    /// The path of the field.
    pub field: String,
    /// The field manager, from `metadata.managedFields`.
    pub manager: String,
}

/// Finds the field manager that changed each field.
pub(crate) fn attribute(paths: &[Path], metadata: &ObjectMeta) -> Vec<Drift> {
    paths
        .iter()
        .map(|path| Drift {
            field: path.to_string(),
            manager: last_manager(path, metadata).unwrap_or("unknown").to_owned(),
        })
        .collect()
}

/// Returns the current owner of the field. A removed field has no owner, so the manager that wrote last is
/// returned.
fn last_manager<'a>(path: &Path, metadata: &'a ObjectMeta) -> Option<&'a str> {
    let others = || {
        metadata
            .managed_fields
            .iter()
            .flatten()
            // Subresources are excluded, because controllers of Kubernetes write the status often.
            .filter(|entry| {
                entry.manager.as_deref() != Some(MANAGER) && entry.subresource.is_none()
            })
    };
    let time = |entry: &&ManagedFieldsEntry| entry.time.as_ref().map(|time| time.0);
    let owner = others()
        .filter(|entry| {
            entry
                .fields_v1
                .as_ref()
                .is_some_and(|fields| owns(&fields.0, &path.0))
        })
        .max_by_key(time);
    let scaled = || {
        metadata.managed_fields.iter().flatten().find(|entry| {
            entry.subresource.as_deref() == Some("scale") && path.is_fields(&["spec", "replicas"])
        })
    };
    let entry = owner
        .or_else(scaled)
        .or_else(|| others().max_by_key(time))?;
    entry.manager.as_deref()
}

fn owns(fields: &Value, steps: &[Step]) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        return true;
    };
    let Value::Object(entries) = fields else {
        return false;
    };
    let next = match step {
        Step::Field(name) => entries.get(&format!("f:{name}")),
        Step::Item(keys) => entries.iter().find_map(|(entry, fields)| {
            let named: Value = serde_json::from_str(entry.strip_prefix("k:")?).ok()?;
            (named == Value::Object(keys.clone())).then_some(fields)
        }),
    };
    // An entry without children owns the complete field.
    let is_leaf = |next: &Value| next.as_object().is_some_and(serde_json::Map::is_empty);
    next.is_some_and(|next| is_leaf(next) || owns(next, rest))
}

#[cfg(test)]
mod tests {
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
                manager: "kubectl-edit".to_owned()
            }]
        );
        let removed = attribute(&differences(&json!({"data": 1}), &json!({})), &metadata);
        assert_eq!(removed.first().unwrap().manager, "late");
    }
}
