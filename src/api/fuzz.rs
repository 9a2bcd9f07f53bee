//! Fuzz targets: request bodies and queries.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::panic_in_result_fn,
    clippy::indexing_slicing,
    reason = "a target fails by a panic"
)]

use actix_web::http::Uri;
use actix_web::test::TestRequest;
use actix_web::{HttpRequest, ResponseError as _};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) use super::order_batch::fuzz::order_batch;
use super::order_body::OrderPatchBody;
use super::query;
use super::query::orders::{OrdersQuery, export, next_page, orders};
use crate::domain::{Line, NewOrder, Order, Patch, PatchError, Status, Violation};
use crate::http::problem::Problem;
use crate::http::request::body::Body;
use crate::order_json::new_order::NewOrderBody;
use crate::order_json::request_hash;

/// Checks the problem of a body: malformed is only what is not JSON.
pub(super) fn check_problem(problem: &Problem, json: &[u8]) {
    match problem.status_code().as_u16() {
        400 => {
            let read = serde_json::from_slice::<Value>(json);
            assert!(read.is_err(), "a JSON text is malformed: {problem:?}");
        }
        422 => {}
        status => panic!("{status} for a body"),
    }
}

/// The value of a body that was accepted. `None` if it has a number that is out of the range of `f64`, which this reader
/// rejects.
pub(super) fn value_of(json: &[u8]) -> Option<Value> {
    match serde_json::from_slice(json) {
        Ok(value) => Some(value),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(error) => panic!("a text that is not JSON is accepted: {error}"),
    }
}

/// Checks that a pointer names a member of the body, or one that is missing in an object or array of the body.
fn check_violations(violations: &[Violation], body: &Value) {
    assert!(!violations.is_empty());
    for Violation { pointer, detail } in violations {
        let (parent, _) = pointer.rsplit_once('/').unwrap_or_default();
        assert!(body.pointer(parent).is_some(), "{pointer} in {body}");
        assert!(!detail.is_empty());
    }
}

/// An order, from the JSON of a new one.
pub(super) fn read_order(json: &[u8]) -> Result<NewOrder, Vec<Violation>> {
    let body = NewOrderBody::parse(json);
    NewOrder::try_from(body.unwrap_or_else(|problem| panic!("{problem:?}")))
}

/// The request for an order in the form with `items` and all members.
fn canonical(new: &NewOrder) -> Value {
    let line = |line: &Line| json!({"product_id": line.product_id, "quantity": line.quantity, "unit_amount": line.unit_amount});
    json!({
        "items": new.items.lines().iter().map(line).collect::<Vec<_>>(),
        "currency": new.currency.as_ref().map(|currency| currency.as_str()),
        "external_id": new.external_id.as_ref().map(|text| text.as_str()),
        "customer_id": new.customer_id.as_ref().map(|text| text.as_str()),
        "metadata": new.metadata.entries(),
    })
}

/// An accepted body means the same in every form, and so has the same hash for its idempotency key.
pub(crate) fn new_order(json: &[u8]) {
    let body = match NewOrderBody::parse(json) {
        Ok(body) => body,
        Err(problem) => return check_problem(&problem, json),
    };
    let Some(value) = value_of(json) else {
        // No member may have such a number.
        assert!(NewOrder::try_from(body).is_err());
        return;
    };
    let new = match NewOrder::try_from(body) {
        Ok(new) => new,
        Err(violations) => return check_violations(&violations, &value),
    };
    let hash = request_hash(&new).expect("an order is JSON");
    for same in [value, canonical(&new)] {
        let text = serde_json::to_vec_pretty(&same).expect("a value is JSON");
        let again = read_order(&text).expect("the same order is legal");
        assert_eq!(again, new, "{same}");
        assert_eq!(request_hash(&again).expect("an order is JSON"), hash);
    }
}

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// Orders to update, in every status.
fn samples() -> Vec<Order> {
    let texts = [
        r#"{"product_id":"a","quantity":1}"#,
        r#"{"items":[{"product_id":"a","quantity":2,"unit_amount":100},{"product_id":"b","quantity":1,"unit_amount":-50}],
            "currency":"EUR","metadata":{"a":"1","b":"2"}}"#,
    ];
    let orders = texts.iter().flat_map(|text| {
        let new = read_order(text.as_bytes()).expect("a sample is legal");
        let order = new.create(Uuid::nil(), NOW);
        Status::ALL.map(|status| Order {
            status,
            ..order.clone()
        })
    });
    orders.collect()
}

/// Applying a patch again changes nothing (RFC 7396 defines the result by the patch alone), and an update is one
/// version.
pub(crate) fn merge_patch(json: &[u8]) {
    let body = match OrderPatchBody::parse(json) {
        Ok(body) => body,
        Err(problem) => return check_problem(&problem, json),
    };
    let Some(value) = value_of(json) else {
        assert!(Patch::try_from(body).is_err());
        return;
    };
    let patch = match Patch::try_from(body) {
        Ok(patch) => patch,
        Err(violations) => return check_violations(&violations, &value),
    };
    for order in samples() {
        match order.patched(&patch, NOW) {
            Ok(Some(next)) => {
                assert_eq!(next.version, order.version + 1);
                assert_ne!(
                    Order {
                        version: order.version,
                        ..next.clone()
                    },
                    order
                );
                assert_eq!(next.patched(&patch, NOW), Ok(None), "{value}");
            }
            Ok(None) => {}
            Err(PatchError::Invalid(violations)) => check_violations(&violations, &value),
            Err(PatchError::IllegalTransition { from, to }) => {
                assert!(value["status"] == to.as_str() && from == order.status);
            }
            Err(PatchError::NotEditable { status }) => {
                assert!(value.get("items").or(value.get("quantity")).is_some());
                assert_eq!(status, order.status);
            }
        }
    }
}

fn check_query<T>(read: Result<T, Problem>) -> Option<T> {
    read.map_err(|problem| assert_eq!(problem.status_code().as_u16(), 422))
        .ok()
}

fn request(query: &str) -> Option<HttpRequest> {
    // The URI of a request that is received has been parsed.
    let uri: Uri = format!("/api/v1/orders?{query}").parse().ok()?;
    Some(
        TestRequest::default()
            .uri(&uri.to_string())
            .to_http_request(),
    )
}

/// The link to the next page is the query of the same list after the last order.
pub(crate) fn query(data: &[u8]) {
    let Some(request) = std::str::from_utf8(data).ok().and_then(request) else {
        return;
    };
    check_query(query::feed(&request));
    if let Some((after, limit)) = check_query(query::order_events(&request)) {
        assert!(after >= 0 && (1..=100).contains(&limit));
    }
    let exported = check_query(export(&request));
    let Some(found) = check_query(orders(&request)) else {
        return;
    };
    let last = match &found {
        OrdersQuery::List(_) => Uuid::max(),
        OrdersQuery::Ids(ids) => ids[0],
    };
    let next = next_page(&found, last).map(|link| {
        let (_, query) = link.split_once('?').expect("a link has a query");
        self::request(query).expect("a link is a URI")
    });
    let next = next.map(|request| orders(&request).expect("a link is a valid query"));
    match found {
        OrdersQuery::List(mut list) => {
            if let Some(exported) = exported {
                assert_eq!(exported, list);
            }
            list.starting_after = Some(last);
            assert_eq!(next, Some(OrdersQuery::List(list)));
        }
        OrdersQuery::Ids(mut ids) => {
            ids.remove(0);
            let rest = (!ids.is_empty()).then_some(OrdersQuery::Ids(ids));
            assert_eq!(next, rest);
        }
    }
}
