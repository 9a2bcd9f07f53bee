//! Schemas of values whose rules `domain/` enforces. schemathesis compares the two.

use utoipa::openapi::schema::{AdditionalProperties, SchemaType};
use utoipa::openapi::{
    KnownFormat, Object, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema, SchemaFormat, Type,
};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::{MAX_UNIT_AMOUNT, Metadata, ShortText};

/// A character that is not a control character, as a class of an ECMA-262 regular expression.
const PRINTABLE: &str = r"[^\u0000-\u001F\u007F-\u009F]";

fn short_text() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(ShortText::MAX_CHARS))
        // At least one character is not white space.
        .pattern(Some(format!(
            r"^{PRINTABLE}*[^\s\u0000-\u001F\u007F-\u009F]{PRINTABLE}*$"
        )))
        .build()
}

/// The product of a new order.
pub(crate) fn product_id() -> Schema {
    let mut schema = short_text();
    schema.description = Some("The product: not blank, without control characters.".to_owned());
    schema.example = Some("sku-1".into());
    schema.into()
}

fn nullable(mut schema: Object, description: &str, example: &str) -> Schema {
    schema.schema_type = [Type::String, Type::Null].into_iter().collect();
    schema.description = Some(description.to_owned());
    schema.example = Some(example.into());
    schema.into()
}

/// The price of a piece, or null.
pub(crate) fn unit_amount() -> Schema {
    ObjectBuilder::new()
        .schema_type([Type::Integer, Type::Null].into_iter().collect::<SchemaType>())
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(-MAX_UNIT_AMOUNT))
        .maximum(Some(MAX_UNIT_AMOUNT))
        .description(Some(
            "The price of a piece in the minor unit of the currency, such as cents. Given for every line, with \
             `currency`, or for none. Negative for a discount.",
        ))
        .examples([250])
        .into()
}

/// The currency of a new order, or null.
pub(crate) fn currency() -> Schema {
    let code = ObjectBuilder::new().pattern(Some("^[A-Z]{3}$")).build();
    nullable(
        code,
        "The currency of all amounts: an active code of ISO 4217 that has a minor unit. Given exactly if the lines \
         have amounts.",
        "EUR",
    )
}

/// The client's own reference, or null.
pub(crate) fn external_id() -> Schema {
    let description =
        "The client's own reference, unique in its tenant: not blank, without control characters.";
    nullable(short_text(), description, "shop-1042")
}

/// The customer of a new order, or null.
pub(crate) fn customer_id() -> Schema {
    let description = "The customer: not blank, without control characters.";
    nullable(short_text(), description, "customer-7")
}

/// The metadata of a new order.
pub(crate) fn metadata() -> Schema {
    let mut schema = entries(value(Type::String.into()));
    schema.max_properties = Some(Metadata::MAX_ENTRIES);
    schema.description = Some(
        "Notes of the client: at most 50 entries, keys of at most 40 characters, values of at most 500."
            .to_owned(),
    );
    schema.example = Some(serde_json::json!({"colour": "blue"}));
    schema.into()
}

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

fn value(kind: SchemaType) -> Object {
    ObjectBuilder::new()
        .schema_type(kind)
        .max_length(Some(Metadata::MAX_VALUE_CHARS))
        .pattern(Some(r"^[^\u0000]*$"))
        .build()
}

fn entries(value: Object) -> Object {
    let key = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(Metadata::MAX_KEY_CHARS))
        .pattern(Some(format!("^{PRINTABLE}+$")));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property_names(Some(key))
        .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(value.into()))))
        .build()
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
