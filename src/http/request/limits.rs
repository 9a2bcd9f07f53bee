//! The limits of the head of a request.

use actix_web::dev::ServiceRequest;

use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;

/// The maximum length of the path with its query, in bytes.
pub(crate) const MAX_URI: usize = 8 * 1024;
/// The maximum number of headers.
pub(crate) const MAX_HEADERS: usize = 64;
/// The maximum number of bytes of the names and values of all headers together.
pub(crate) const MAX_HEADER_BYTES: usize = 32 * 1024;

/// Rejects a head that is larger than any client of this API needs. A much larger head does not reach this check:
/// the connection rejects it with the same limits.
pub(crate) fn check_head(request: &ServiceRequest) -> Result<(), Problem> {
    let uri = request
        .uri()
        .path_and_query()
        .map_or(0, |uri| uri.as_str().len());
    let headers = request.headers();
    let bytes = || {
        headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
    };
    let detail = if uri > MAX_URI {
        format!("The path with its query must have at most {MAX_URI} bytes.")
    } else if headers.len() > MAX_HEADERS {
        format!("A request must have at most {MAX_HEADERS} headers.")
    } else if bytes().sum::<usize>() > MAX_HEADER_BYTES {
        format!("The headers must have at most {MAX_HEADER_BYTES} bytes.")
    } else {
        return Ok(());
    };
    Err(Problem::new(ProblemKind::MalformedRequest, detail))
}
