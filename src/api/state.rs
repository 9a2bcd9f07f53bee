//! The state that the handlers share.

use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// The state that the handlers share.
#[derive(Clone)]
pub struct ApiState {
    /// The orders and their events.
    pub store: Store,
    /// Cancelled when the drain starts.
    pub drain: CancellationToken,
}
