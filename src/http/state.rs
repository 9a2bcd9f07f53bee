//! What the edge and the extractors share.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::path::PathTemplate;
use super::request::budget::RequestBudget;
use super::response::budget::ResponseBudget;

/// What the edge and the extractors share.
#[derive(Clone, Debug)]
pub struct HttpState {
    /// The templates of all routes.
    pub templates: &'static [PathTemplate],
    /// How long a whole request may take.
    pub request_timeout: Duration,
    /// The largest request body, in bytes.
    pub max_body_bytes: usize,
    /// The memory for responses that are not sent yet.
    pub responses: ResponseBudget,
    /// The memory for request bodies that are being received.
    pub bodies: RequestBudget,
    /// Cancelled when the drain starts: from then on each response ends its connection.
    pub drain: CancellationToken,
}
