//! The state that the handlers share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::faults::TestPanics;
use crate::store::Store;

/// The state that the handlers share.
#[derive(Clone)]
pub(crate) struct ApiState {
    /// The orders and their events.
    pub(crate) store: Store,
    /// Which credentials are accepted.
    pub(crate) access: Arc<Access>,
    pub(crate) panics: TestPanics,
    /// Cancelled when the drain starts.
    pub(crate) drain: CancellationToken,
}
