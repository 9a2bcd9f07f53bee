//! The state that the edge and the extractors share.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::edge::rates::Rates;
use super::request::budget::RequestBudget;
use super::response::budget::ResponseBudget;
use super::route::Resource;

/// The state that the edge and the extractors share.
#[derive(Clone)]
pub(crate) struct HttpState {
    /// The resources that are served.
    pub(crate) resources: &'static [Resource],
    /// How long a whole request may take.
    pub(crate) request_timeout: Duration,
    /// The maximum size of a request body, in bytes.
    pub(crate) max_body_bytes: usize,
    /// The limits of `RATE_LIMIT`, if it is set.
    pub(crate) rates: Option<Rates>,
    /// For responses that are not sent yet.
    pub(crate) responses: ResponseBudget,
    /// For request bodies that are being received.
    pub(crate) bodies: RequestBudget,
    /// Cancelled when the drain starts: from then on each response ends its connection.
    pub(crate) drain: CancellationToken,
}
