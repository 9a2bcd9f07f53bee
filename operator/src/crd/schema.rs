//! Parts of the schema that cannot be derived from the types.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A reference to an image: registry and port, path, tag, digest.
pub(super) const IMAGE: &str = r"^([a-zA-Z0-9][a-zA-Z0-9.-]*(:[0-9]{1,5})?/)?[a-z0-9]+((\.|_{1,2}|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_{1,2}|-+)[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[a-f0-9]{64})?$";
/// The name of an object.
pub(super) const SUBDOMAIN: &str =
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// The name of a namespace.
pub(super) const LABEL: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// The key of a secret.
pub(super) const SECRET_KEY: &str = r"^[-._a-zA-Z0-9]+$";
/// A range of addresses. The API server validates the NetworkPolicy more strictly.
pub(super) const CIDR: &str = r"^[0-9a-fA-F.:]+/[0-9]{1,3}$";
/// A duration in the syntax of the service.
pub(super) const DURATION: &str = r"^[0-9]{1,8}(ms|s|m|h)$";
/// A duration above zero.
pub(super) const POSITIVE_DURATION: &str = r"^0*[1-9][0-9]{0,7}(ms|s|m|h)$";

/// The interval of scrapes, at least as long as their timeout of 5 s.
pub(super) const SCRAPE_INTERVAL: &str = r"^(([5-9]|[1-9][0-9]{1,4})s|[1-9][0-9]{0,3}m)$";

/// How long data is kept: at most the century that the service accepts.
pub(super) const RETENTION: &str =
    r"^([1-9][0-9]{0,4}h|[1-9][0-9]{0,3}d|[1-9][0-9]{0,2}w|[1-9][0-9]?y)$";
/// Five fields of cron, or a name for them.
pub(super) const SCHEDULE: &str = r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[0-9A-Za-z*?/,-]+( [0-9A-Za-z*?/,-]+){4})$";

/// A quantity as in pods, without negative values and exponents.
pub(super) fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "pattern": r"^[0-9]+(\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$",
        "maxLength": 20,
    })
}

/// A number of pods or a percentage.
pub(super) fn count_or_percentage(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "pattern": r"^(0|[1-9][0-9]?|100)%$",
        "maxLength": 4,
    })
}

/// A number of pods or a percentage that is not zero.
pub(super) fn count_or_percentage_above_zero(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = count_or_percentage(generator);
    schema.insert(
        "x-kubernetes-validations".to_owned(),
        serde_json::json!([{
            "rule": "!(string(self) in ['0', '0%'])",
            "message": "disruption.maxUnavailable must not be zero: no node could be drained",
        }]),
    );
    schema
}

/// Any object. The API server validates it when the operator applies it as part of another one.
pub(super) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A short list of any objects.
pub(super) fn any_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 8,
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    })
}

/// A list of conditions with one entry per type.
pub(super) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let item = generator.subschema_for::<super::Condition>();
    json_schema!({
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}
