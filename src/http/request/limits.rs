//! The limits of a request's head.

use actix_web::dev::ServiceRequest;

use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;

/// The longest path with query, in bytes.
pub const MAX_URI: usize = 8 * 1024;
/// The most headers.
pub const MAX_HEADERS: usize = 64;
/// The most bytes of their names and values together.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;

/// Refuses a head that is larger than any client of this API needs. What is larger by far does not
/// get here: the connection refuses it with the same limits.
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
    let what = if uri > MAX_URI {
        format!("The path with its query must have at most {MAX_URI} bytes.")
    } else if headers.len() > MAX_HEADERS {
        format!("A request must have at most {MAX_HEADERS} headers.")
    } else if bytes().sum::<usize>() > MAX_HEADER_BYTES {
        format!("The headers must have at most {MAX_HEADER_BYTES} bytes.")
    } else {
        return Ok(());
    };
    Err(Problem::new(ProblemKind::MalformedRequest, what))
}
