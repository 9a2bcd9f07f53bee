//! Schemas that say in the OpenAPI document what `domain/` decides. schemathesis compares the two.

use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::{Metadata, ShortText};

/// Characters that are no control characters, as a class of an ECMA-262 regular expression.
const PRINTABLE: &str = r"[^\u0000-\u001F\u007F-\u009F]";

/// A product or a customer.
pub(crate) fn label() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(ShortText::MAX_CHARS))
        // Something that is no white space is in it.
        .pattern(Some(format!(
            r"^{PRINTABLE}*[^\s\u0000-\u001F\u007F-\u009F]{PRINTABLE}*$"
        )))
        .into()
}

/// [`label`], or null.
pub(crate) fn optional_label() -> Schema {
    let Schema::Object(mut schema) = label() else {
        return label();
    };
    schema.schema_type = [Type::String, Type::Null].into_iter().collect();
    schema.into()
}

/// Metadata of a new order.
pub(crate) fn metadata() -> Schema {
    entries(text(Type::String))
}

/// A change of metadata: null deletes a key, null for the whole empties it.
pub(crate) fn metadata_patch() -> Schema {
    let mut value = text(Type::String);
    value.schema_type = [Type::String, Type::Null].into_iter().collect();
    let Schema::Object(mut schema) = entries(value) else {
        return metadata();
    };
    schema.schema_type = [Type::Object, Type::Null].into_iter().collect();
    schema.into()
}

fn text(kind: Type) -> utoipa::openapi::Object {
    ObjectBuilder::new()
        .schema_type(kind)
        .max_length(Some(Metadata::MAX_VALUE_CHARS))
        .pattern(Some(r"^[^\u0000]*$"))
        .build()
}

fn entries(value: utoipa::openapi::Object) -> Schema {
    let key = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(Metadata::MAX_KEY_CHARS))
        .pattern(Some(format!("^{PRINTABLE}+$")));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .max_properties(Some(Metadata::MAX_ENTRIES))
        .property_names(Some(key))
        .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(value.into()))))
        .into()
}

/// Declares the schema of a parameter.
macro_rules! parameter {
    ($(#[$doc:meta])* $name:ident: $schema:expr) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                RefOr::T($schema)
            }
        }

        impl ToSchema for $name {}
    };
}

parameter! {
    /// The most entries of a page: any number from 1, as larger ones mean the maximum.
    Limit: ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).into()
}

parameter! {
    /// A product or a customer.
    LabelText: label()
}

parameter! {
    /// A list of entity tags, or `*` (RFC 9110, section 13.1).
    EntityTags: ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(r#"^(\*|(W/)?"[^"]*"(\s*,\s*(W/)?"[^"]*")*)?$"#))
        .into()
}
