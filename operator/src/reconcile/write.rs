//! Writes one object, and records what admission changes in it.

use kube::api::DynamicObject;
use serde_json::Value;

use super::Context;
use super::apply::Desired;
use super::error::{ApiResultExt as _, Error};
use crate::build::labels::ADMITTED;
use crate::cluster::Kind;
use crate::diff::admission::Admitted;
use crate::diff::compare::differences;

/// Applies an object, and records the fields that differ in the response. Returns the object, and those of these
/// fields that are not in `before` with the same value.
pub(super) async fn write(
    context: &Context,
    owner: &str,
    desired: &Desired,
    value: &Value,
    force: bool,
    before: &Admitted,
) -> Result<(DynamicObject, Vec<String>), Error> {
    let kind = desired.kind;
    let made = context.cluster.apply(kind, value, force).await;
    let made = made.during(|| format!("apply {} {}", kind.as_str(), desired.name))?;
    // A Job is not compared again, because its template is immutable.
    let (made, admitted) = if kind == Kind::Job {
        record_match(context, desired, &made);
        (made, Admitted::default())
    } else {
        record_admitted(context, desired, made).await?
    };
    let name = desired.name.as_str();
    let namespace = made.metadata.namespace.as_deref().unwrap_or_default();
    let admissions = &context.records.admissions;
    admissions.record(owner, kind, name, &admitted);
    log::info!(kind = kind.as_str(), name, namespace; "applied");
    let fields = admitted.fields_without(before);
    if !fields.is_empty() {
        log::info!(
            kind = kind.as_str(), name, namespace, fields = fields.join(", ").as_str();
            "an admission policy changed fields of the desired object; they are accepted"
        );
    }
    Ok((made, fields))
}

fn record_match(context: &Context, desired: &Desired, made: &DynamicObject) {
    context
        .records
        .index
        .record_match(desired.kind, &made.metadata, &desired.digest);
}

/// Records the fields of an applied object that admission changed.
async fn record_admitted(
    context: &Context,
    desired: &Desired,
    made: DynamicObject,
) -> Result<(DynamicObject, Admitted), Error> {
    let differing = |made: &DynamicObject| -> Result<Admitted, Error> {
        let live = serde_json::to_value(made)?;
        Ok(Admitted::of(&differences(&desired.value, &live)))
    };
    let admitted = differing(&made)?;
    if admitted == Admitted::recorded(&made.metadata) {
        record_match(context, desired, &made);
        return Ok((made, admitted));
    }
    // A merge patch of the annotation alone: another apply would revert what a policy changes only at the creation,
    // and fail in the immutable fields of a ConfigMap.
    let text = admitted.annotation()?;
    let (kind, cluster) = (desired.kind, &context.cluster);
    let annotated = cluster
        .annotate(kind, &made, ADMITTED, text.as_deref())
        .await;
    let (made, admitted) = match annotated {
        Ok(made) => {
            let admitted = differing(&made)?;
            (made, admitted)
        }
        // The object is applied. Without the annotation, only the next leader applies it once more.
        Err(error) => {
            log::warn!(
                kind = kind.as_str(), name = desired.name.as_str(), error:% = error;
                "the fields that an admission policy changed cannot be recorded"
            );
            (made, admitted)
        }
    };
    record_match(context, desired, &made);
    if admitted != Admitted::recorded(&made.metadata)
        && let Some(namespace) = &made.metadata.namespace
    {
        let index = &context.records.index;
        index.record_admitted(kind, namespace, &desired.name, admitted.clone());
    }
    Ok((made, admitted))
}
