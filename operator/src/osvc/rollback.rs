//! Chooses the image of a rollback. Pure functions.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::error::OsvcError;
use super::report::Service;

/// Returns the image of the newest version that rolled out completely and has another image than the spec. The
/// operator has already rolled the pods back to it if the image of the spec failed.
///
/// A version that was replaced before it had rolled out is not proven, so it is never chosen.
pub(crate) fn previous_image(service: &Service) -> Result<&str, OsvcError> {
    let replica_sets = service.deployment.iter().flat_map(|it| &it.replica_sets);
    let mut good =
        replica_sets.filter(|it| it.proven && !it.image.is_empty() && it.image != service.image);
    match good.next() {
        Some(replica_set) => Ok(&replica_set.image),
        None => Err(OsvcError::NotFound(format!(
            "no version of {} with another image than {} has rolled out; name an image with --to-image",
            service.name, service.image
        ))),
    }
}

/// The JSON Patch that sets an image, unless the object or its image has changed since it was read.
pub(crate) fn patch(object: &DynamicObject, from: &str, to: &str) -> Value {
    json!([
        {"op": "test", "path": "/metadata/uid", "value": object.metadata.uid},
        {"op": "test", "path": "/spec/image", "value": from},
        {"op": "replace", "path": "/spec/image", "value": to},
    ])
}

/// The field managers that apply a field of the spec, such as a GitOps controller, which would set it again.
pub(crate) fn appliers<'a>(object: &'a DynamicObject, field: &str) -> Vec<&'a str> {
    let pointer = format!("/f:spec/f:{field}");
    let entries = object.metadata.managed_fields.iter().flatten();
    entries
        .filter(|entry| entry.operation.as_deref() == Some("Apply"))
        .filter(|entry| {
            let fields = entry.fields_v1.as_ref();
            fields.is_some_and(|fields| fields.0.pointer(&pointer).is_some())
        })
        .filter_map(|entry| entry.manager.as_deref())
        .collect()
}
