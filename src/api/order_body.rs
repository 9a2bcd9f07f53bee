//! Request bodies with a single order.

use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::openapi::schemas;
use crate::domain::{
    Items, ItemsDraft, ItemsPatch, LineDraft, MetadataPatch, Patch, Quantity, UnknownStatus,
    Violation,
};
use crate::http::problem::Problem;
use crate::http::request::body::{self, Body};
use crate::order_json::StatusSchema;
use crate::order_json::integer::present_integer;
use crate::order_json::new_order::{LineBody, NewOrderBody, Object, UniqueEntries, present};

impl Body for NewOrderBody {
    const MEDIA_TYPES: &'static [&'static str] = &["application/json"];

    fn parse(json: &[u8]) -> Result<Self, Problem> {
        body::parse("body", json)
    }
}

/// A change of an order (JSON Merge Patch, RFC 7396). Members that are left out stay unchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OrderPatch, example = json!({"status": "confirmed"}))]
pub(crate) struct OrderPatchBody {
    /// The new status.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = StatusSchema, required = false)]
    status: Option<String>,
    /// New lines that replace all lines; only while the order is pending. They have amounts exactly if the order has a
    /// currency.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<LineBody>, required = false, min_items = 1, max_items = 100)]
    items: Option<Vec<Object<LineBody>>>,
    /// The new quantity of the only line; only while the order is pending, and not together with `items`.
    #[serde(default, deserialize_with = "present_integer")]
    #[schema(value_type = i64, required = false, minimum = 1, maximum = 1_000_000, example = 5)]
    quantity: Option<i64>,
    #[serde(default, deserialize_with = "present_entries")]
    #[schema(schema_with = schemas::optional_metadata_patch, required = false)]
    metadata: Option<MetadataPatch>,
}

impl Body for OrderPatchBody {
    const MEDIA_TYPES: &'static [&'static str] =
        &["application/merge-patch+json", "application/json"];
    /// The response is as large as the order.
    const LARGE_RESPONSE: bool = true;

    fn parse(json: &[u8]) -> Result<Self, Problem> {
        body::parse("body", json)
    }
}

impl TryFrom<OrderPatchBody> for Patch {
    type Error = Vec<Violation>;

    fn try_from(body: OrderPatchBody) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        let status = body.status.map(|status| {
            status
                .parse()
                .map_err(|error: UnknownStatus| {
                    violations.push(Violation::new("/status", error.to_string()));
                })
                .ok()
        });
        let quantity = body.quantity.map(|quantity| {
            Quantity::parse(quantity)
                .map_err(|detail| violations.push(Violation::new("/quantity", detail)))
                .ok()
        });
        let items = body.items.map(|lines| {
            let lines = lines.into_iter().map(LineDraft::from).collect();
            Items::parse(ItemsDraft::Listed(lines))
                .map_err(|found| violations.extend(found))
                .ok()
        });
        if items.is_some() && quantity.is_some() {
            let detail = "must not be given together with items";
            violations.push(Violation::new("/quantity", detail));
        }
        if let Some(Err(found)) = body.metadata.as_ref().map(MetadataPatch::check) {
            violations.extend(found);
        }
        if !violations.is_empty() {
            return Err(violations);
        }
        Ok(Self {
            status: status.flatten(),
            items: items
                .flatten()
                .map(ItemsPatch::Replace)
                .or_else(|| quantity.flatten().map(ItemsPatch::Quantity)),
            metadata: body.metadata,
        })
    }
}

fn present_entries<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<MetadataPatch>, D::Error> {
    let entries = Option::<UniqueEntries<Option<String>>>::deserialize(deserializer)?;
    Ok(Some(match entries {
        None => MetadataPatch::Clear,
        Some(UniqueEntries(entries)) => MetadataPatch::Merge(entries),
    }))
}
