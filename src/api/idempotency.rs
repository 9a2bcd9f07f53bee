//! Idempotency keys, in the header and in the orders of a batch.

use actix_web::http::header::{HeaderMap, HeaderName};

use crate::domain::{NewOrder, Violation};
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::order_json;
use crate::store::Idempotency;

/// The request header that makes a request repeatable.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The response header of a replay.
pub(super) const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";

/// The key of the request, if it has one, with a hash of the order that the request creates.
///
/// # Errors
/// A problem if the key is malformed or given twice.
pub(super) fn idempotency(
    headers: &HeaderMap,
    new: &NewOrder,
) -> Result<Option<Idempotency>, Problem> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY);
    let (Some(key), more) = (keys.next(), keys.next()) else {
        return Ok(None);
    };
    let text = key
        .to_str()
        .ok()
        .filter(|text| more.is_none() && is_key(text));
    let Some(text) = text else {
        return Err(Problem::new(
            ProblemKind::MalformedRequest,
            "The header Idempotency-Key must be given once, with 1 to 255 visible ASCII characters.",
        ));
    };
    of_order(text, new).map(Some)
}

/// Checks the key of an order in a batch.
///
/// # Errors
/// A violation if it is malformed.
pub(super) fn check_member(key: &str) -> Result<(), Violation> {
    if is_key(key) {
        return Ok(());
    }
    let detail = "must have 1 to 255 visible ASCII characters";
    Err(Violation::new("/idempotency_key", detail))
}

/// This key with a hash of the order that the request creates. The hash does not depend on where the key was given.
///
/// # Errors
/// Never in practice: every order can be written as JSON.
pub(super) fn of_order(key: &str, new: &NewOrder) -> Result<Idempotency, Problem> {
    let request_hash = order_json::request_hash(new).map_err(Problem::internal)?;
    Ok(Idempotency::new(key, request_hash))
}

fn is_key(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
