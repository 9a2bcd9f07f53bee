//! Schemas of values whose rules `domain/` enforces, besides those of a new order. schemathesis compares the two.

use utoipa::openapi::{ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::order_json::schemas::{entries, short_text, value};

/// A change of the metadata.
pub(crate) struct MetadataPatchSchema;

impl PartialSchema for MetadataPatchSchema {
    fn schema() -> RefOr<Schema> {
        let mut schema = entries(value([Type::String, Type::Null].into_iter().collect()));
        schema.description =
            Some("Merged into the metadata of the order: null deletes a key.".to_owned());
        schema.example = Some(serde_json::json!({"colour": "red", "note": null}));
        RefOr::T(schema.into())
    }
}

impl ToSchema for MetadataPatchSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        "MetadataPatch".into()
    }
}

/// [`MetadataPatchSchema`], or null.
///
/// The object has a name of its own, because client generators omit an unnamed nullable object, or give it a
/// number as its name.
pub(crate) fn optional_metadata_patch() -> Schema {
    OneOfBuilder::new()
        .description(Some("A change of the metadata. Null removes every entry."))
        .item(Ref::from_schema_name("MetadataPatch"))
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .examples([serde_json::json!({"colour": "red", "note": null})])
        .into()
}

/// The type of a parameter that is a product or a customer.
pub(super) struct ShortTextSchema;

impl PartialSchema for ShortTextSchema {
    fn schema() -> RefOr<Schema> {
        RefOr::T(short_text().into())
    }
}

impl ToSchema for ShortTextSchema {}

/// The type of the parameter `limit`: any number from 1, without a maximum, because larger numbers mean
/// the maximum.
pub(super) struct Limit;

impl PartialSchema for Limit {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1));
        RefOr::T(schema.into())
    }
}

impl ToSchema for Limit {}

/// The type of the parameter `order`.
pub(super) struct DirectionSchema;

impl PartialSchema for DirectionSchema {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(["asc", "desc"]));
        RefOr::T(schema.into())
    }
}

impl ToSchema for DirectionSchema {}
