//! The `Idempotency-Key` header.

use actix_web::http::header::{HeaderMap, HeaderName};

use crate::domain::NewOrder;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::order_json;
use crate::store::Idempotency;

/// The header with which a client marks a request as one it may repeat.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header of an answer that was given before.
pub(super) const REPLAYED: &str = "idempotency-replayed";

/// The key of the request, if it has one, with the hash of what the request means.
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
