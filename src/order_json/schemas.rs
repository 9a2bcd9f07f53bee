//! Schemas of the members of a new order. `domain/` enforces the rules, and schemathesis compares the two.

use utoipa::openapi::schema::{AdditionalProperties, SchemaType};
use utoipa::openapi::{KnownFormat, Object, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};

use crate::domain::{MAX_UNIT_AMOUNT, Metadata, ShortText};

/// A character that is not a control character, as a class of an ECMA-262 regular expression.
const PRINTABLE: &str = r"[^\u0000-\u001F\u007F-\u009F]";

/// A name or a reference that a client gives.
pub(crate) fn short_text() -> Object {
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

/// The value of an entry of metadata.
pub(crate) fn value(kind: SchemaType) -> Object {
    ObjectBuilder::new()
        .schema_type(kind)
        .max_length(Some(Metadata::MAX_VALUE_CHARS))
        .pattern(Some(r"^[^\u0000]*$"))
        .build()
}

/// An object with entries of metadata.
pub(crate) fn entries(value: Object) -> Object {
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
