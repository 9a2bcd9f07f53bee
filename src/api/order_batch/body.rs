//! The request body of a batch.
//!
//! Each order is parsed by itself, so that one that is invalid does not affect the others, and straight from the bytes
//! of the body.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::element::Element;
use super::schema::NewOrderInBatch;
use crate::api::idempotency;
use crate::domain::{NewOrder, Violation};
use crate::http::problem::Problem;
use crate::http::request::body::{self, Body};
use crate::store::Idempotency;

/// The maximum number of orders in a batch.
const MAX_ORDERS: usize = 100;
/// The maximum size of the body. With a hundred orders, each may have 10 KiB.
const MAX_BYTES: usize = 1024 * 1024;
/// The maximum number of invalid parts that the problem of an order has. It is in memory while the valid orders are
/// created, and takes a permit of the store, as an order does.
const MAX_ERRORS: usize = 10;

/// The orders of a batch, in the order of the request. One that is invalid is its problem.
pub(crate) struct OrderBatch(pub(super) Vec<Result<BatchedOrder, Problem>>);

/// A valid order of a batch.
pub(super) struct BatchedOrder {
    pub(super) new: NewOrder,
    pub(super) idempotency: Option<Idempotency>,
}

impl Body for OrderBatch {
    const MEDIA_TYPES: &'static [&'static str] = &["application/json"];
    const MAX_BYTES: Option<usize> = Some(MAX_BYTES);
    /// Even a hundred of the smallest orders have a large response.
    const LARGE_RESPONSE: bool = true;

    fn parse(json: &[u8]) -> Result<Self, Problem> {
        let Outline { orders } = body::parse("body", json)?;
        if orders.count == 0 || orders.count > MAX_ORDERS {
            let detail = format!("must have 1 to {MAX_ORDERS} orders, has {}", orders.count);
            return Err(Violation::new("/orders", detail).into());
        }
        let orders = orders.first.into_iter().enumerate();
        let orders = orders.map(|(index, json)| {
            let pointer = || format!("/orders/{index}");
            parse_order(json).map_err(|problem| problem.of_element(&pointer(), MAX_ERRORS))
        });
        Ok(Self(orders.collect()))
    }
}

fn parse_order(json: &RawValue) -> Result<BatchedOrder, Problem> {
    let element: Element = body::parse("order", json.get().as_bytes())?;
    let key = element.others.into_key();
    let checked = key.as_deref().map_or(Ok(()), idempotency::check_member);
    match (NewOrder::try_from(element.order), checked) {
        (Ok(new), Ok(())) => {
            let idempotency = key.map(|key| idempotency::of_order(&key, &new));
            Ok(BatchedOrder {
                idempotency: idempotency.transpose()?,
                new,
            })
        }
        (order, key) => {
            let mut violations = order.err().unwrap_or_default();
            violations.extend(key.err());
            Err(violations.into())
        }
    }
}

/// Several orders to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    as = NewOrderBatch,
    example = json!({"orders": [
        {"product_id": "sku-1", "quantity": 3, "idempotency_key": "cart-7-1"},
        {"product_id": "sku-2", "quantity": 1, "idempotency_key": "cart-7-2"},
    ]})
)]
pub(crate) struct Outline<'a> {
    /// The orders. An order that is invalid does not fail the others.
    #[serde(borrow)]
    #[schema(value_type = Vec<NewOrderInBatch>, min_items = 1, max_items = 100)]
    orders: RawOrders<'a>,
}

/// The JSON of each order, of at most [`MAX_ORDERS`] of them, and how many there are.
struct RawOrders<'a> {
    first: Vec<&'a RawValue>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for RawOrders<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Orders;
        impl<'de> Visitor<'de> for Orders {
            type Value = RawOrders<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of orders")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut orders: A) -> Result<Self::Value, A::Error> {
                let mut first = Vec::new();
                while first.len() < MAX_ORDERS {
                    let Some(order) = orders.next_element()? else {
                        let count = first.len();
                        return Ok(RawOrders { first, count });
                    };
                    first.push(order);
                }
                let mut count = first.len();
                while orders.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(RawOrders { first, count })
            }
        }
        deserializer.deserialize_seq(Orders)
    }
}
