//! The `traceparent` header (W3C Trace Context).

use actix_web::http::header::HeaderMap;

use crate::domain::is_traceparent;

/// Returns the value of the header if it is valid (W3C Trace Context, section 3.2). Without a valid value, the
/// request starts without a trace, as the specification requires.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("traceparent");
    let (value, more) = (values.next()?, values.next());
    value
        .to_str()
        .ok()
        .filter(|text| more.is_none() && is_traceparent(text))
}
