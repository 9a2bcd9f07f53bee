//! The body of a response and its budget.

pub(crate) mod budget;
pub(crate) mod outgoing;

use actix_web::{HttpResponse, HttpResponseBuilder, body};

/// Creates the response to a HEAD request for a stream: without `Content-Length`, which would be that of the stream
/// (RFC 9110, section 8.6).
pub(crate) fn only_head(mut head: HttpResponseBuilder) -> HttpResponse {
    let response = head.finish().set_body(body::None::new());
    response.map_into_boxed_body()
}
