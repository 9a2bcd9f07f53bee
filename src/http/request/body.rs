//! Reads a JSON body, and reports precisely why an invalid one is rejected.

use std::pin::Pin;
use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::Method;
use actix_web::http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName,
    HeaderValue,
};
use actix_web::web::{Bytes, BytesMut, Data};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt as _;
use serde::Deserialize;

use super::budget::BodyPermit;
use super::context::RequestContext;
use crate::http::activity::Activity;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::http::response::budget as response;
use crate::http::state::HttpState;
use crate::json::{self, Rejected};
use crate::shares::Unavailable;

pub(crate) struct Json<T>(pub(crate) T);

/// A type that a client may send as a JSON body.
pub(crate) trait Body: Sized + 'static {
    const MEDIA_TYPES: &'static [&'static str];
    /// The maximum size in bytes. `None` is `MAX_BODY_BYTES`.
    const MAX_BYTES: Option<usize> = None;
    /// Whether the response may be large although the body is small.
    const LARGE_RESPONSE: bool = false;

    /// Reads the value from its JSON, usually with [`parse`].
    ///
    /// # Errors
    /// A problem that says why the body is rejected.
    fn parse(json: &[u8]) -> Result<Self, Problem>;
}

impl<T: Body> FromRequest for Json<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let payload = payload.take();
        Box::pin(async move {
            let context = RequestContext::extract(&request).await?;
            let http = Data::<HttpState>::extract(&request)
                .await
                .map_err(Problem::internal)?;
            check_media_type(&request, T::MEDIA_TYPES)?;
            let caller = context.caller();
            let mut permit = http.bodies.permit(&caller.id);
            let max = T::MAX_BYTES.unwrap_or(http.max_body_bytes);
            let body = read(&request, payload, max, &mut permit);
            let body = context.within(body, ProblemKind::RequestTimeout).await??;
            // The response to a change is sent even beyond the budget, so the change is rejected first. The response
            // to a create is as large as its body, except for a few bytes for each line.
            if body.len() > response::SMALL || T::LARGE_RESPONSE {
                let checked = http.responses.check(Some(caller));
                checked.map_err(|error| response::problem(Some(caller), error))?;
            }
            T::parse(&body).map(Self)
        })
    }
}

const NO_REQUEST_BUDGET: &str = "Too many large requests are being received. Try again later.";
const NO_REQUEST_SHARE: &str =
    "Too many large requests of the caller are being received. Complete them, and try again later.";

/// Rejects a body with an unsupported type or with a content coding.
fn check_media_type(request: &HttpRequest, media_types: &[&str]) -> Result<(), Problem> {
    let header = |name| {
        request
            .headers()
            .get(name)
            .and_then(|v: &HeaderValue| v.to_str().ok())
    };
    if header(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            "The body must not be encoded (Content-Encoding).",
        )
        .with_header(ACCEPT_ENCODING, "identity"));
    }
    let given = header(CONTENT_TYPE).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if media_types
        .iter()
        .any(|known| known.eq_ignore_ascii_case(essence))
    {
        Ok(())
    } else {
        Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            format!("The Content-Type must be {}.", media_types.join(" or ")),
        )
        .with_header(
            // RFC 5789, section 2.2, and RFC 9110, section 15.5.16.
            if request.method() == Method::PATCH {
                HeaderName::from_static("accept-patch")
            } else {
                ACCEPT
            },
            media_types.join(", "),
        ))
    }
}

/// Reads the whole body. At most `max` bytes of it are in memory at any time.
async fn read(
    request: &HttpRequest,
    mut payload: Payload,
    max: usize,
    permit: &mut BodyPermit<'_>,
) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            ProblemKind::PayloadTooLarge,
            format!("The body must have at most {max} bytes."),
        )
    };
    let activity = request.conn_data::<Rc<Activity>>();
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let no_budget = |error: Unavailable| match error {
        Unavailable::Share => Problem::new(ProblemKind::RateLimited, NO_REQUEST_SHARE),
        Unavailable::Capacity => Problem::new(ProblemKind::Overloaded, NO_REQUEST_BUDGET),
    };
    permit
        .grow_to(announced.unwrap_or_default())
        .map_err(no_budget)?;
    let mut body = BytesMut::with_capacity(announced.unwrap_or_default());
    if let Some(activity) = activity {
        activity.start_reading_body();
    }
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| match error {
            PayloadError::Overflow => too_large(),
            _ if activity.is_some_and(|activity| activity.has_malformed_body()) => Problem::new(
                ProblemKind::MalformedRequest,
                "The chunks of the body are malformed.",
            ),
            _ => Problem::new(ProblemKind::MalformedRequest, "The body is incomplete."),
        })?;
        if body.len() + chunk.len() > max {
            return Err(too_large());
        }
        let length = body.len() + chunk.len();
        if length > body.capacity() {
            // A chunked body announces no length: double the capacity.
            let capacity = length.saturating_mul(2).min(max);
            permit.grow_to(capacity).map_err(no_budget)?;
            body.reserve(capacity.saturating_sub(body.len()));
        }
        body.extend_from_slice(&chunk);
    }
    if let Some(activity) = activity {
        activity.finish_reading_body();
    }
    Ok(body.freeze())
}

/// Parses JSON. Bytes that are not JSON result in a 400 that calls them `what`, and JSON that does not match `T` in a
/// 422.
pub(crate) fn parse<'de, T: Deserialize<'de>>(what: &str, json: &'de [u8]) -> Result<T, Problem> {
    json::parse(json).map_err(|rejected| match rejected {
        Rejected::Malformed(why) => Problem::new(
            ProblemKind::MalformedRequest,
            format!("The {what} is not JSON: {why}."),
        ),
        Rejected::Invalid(violation) => violation.into(),
    })
}
