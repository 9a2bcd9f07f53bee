//! The `Idempotency-Key` header.

use actix_web::http::header::{HeaderMap, HeaderName};

use crate::domain::NewOrder;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::order_json;
use crate::store::Idempotency;

/// The request header that makes a request repeatable.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

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
        .filter(|text| more.is_none() && (1..=255).contains(&text.len()))
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    let Some(text) = text else {
        return Err(Problem::new(
            ProblemKind::MalformedRequest,
            "The header Idempotency-Key must be given once, with 1 to 255 visible ASCII characters.",
        ));
    };
    Ok(Some(Idempotency {
        key: text.to_owned(),
        hash: order_json::request_hash(new).map_err(Problem::internal)?,
    }))
}
