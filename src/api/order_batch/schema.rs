//! The schema of an order in a batch.

use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::element::IDEMPOTENCY_KEY;
use crate::order_json::new_order::NewOrderBody;

/// A new order with its key.
///
/// Not an `allOf` with the schema of a new order, which permits no further member.
pub(crate) struct NewOrderInBatch;

impl PartialSchema for NewOrderInBatch {
    fn schema() -> RefOr<Schema> {
        let mut schema = NewOrderBody::schema();
        if let RefOr::T(Schema::Object(order)) = &mut schema {
            let key = ObjectBuilder::new()
                .schema_type(
                    [Type::String, Type::Null]
                        .into_iter()
                        .collect::<utoipa::openapi::schema::SchemaType>(),
                )
                .min_length(Some(1))
                .max_length(Some(255))
                .pattern(Some("^[!-~]+$"))
                .description(Some("Like the header `Idempotency-Key` of a single order."))
                .examples(["cart-7-1"]);
            order.description = Some("An order of a batch.".to_owned());
            order
                .properties
                .insert(IDEMPOTENCY_KEY.to_owned(), key.build().into());
        }
        schema
    }
}

impl ToSchema for NewOrderInBatch {
    fn name() -> std::borrow::Cow<'static, str> {
        "NewOrderInBatch".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        NewOrderBody::schemas(schemas);
    }
}
