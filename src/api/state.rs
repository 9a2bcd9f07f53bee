//! The state that the handlers share.

use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// The state that the handlers share.
#[derive(Clone)]
pub(crate) struct ApiState {
    /// The orders and their events.
    pub(crate) store: Store,
    /// Cancelled when the drain starts.
    pub(crate) drain: CancellationToken,
}
