//! A slot that is released only when the server has closed the connection.

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::slots::Slot;
use super::socket::Stream;

/// The slot of a connection whose socket is in use by tokio-postgres.
pub(super) struct OccupiedSlot {
    /// Receives the stream when tokio-postgres drops the socket.
    returned: oneshot::Receiver<Stream>,
    slot: Slot,
}

impl OccupiedSlot {
    /// Waits until tokio-postgres has dropped the socket and the server has closed the connection, and
    /// then releases the slot.
    pub(super) async fn release_when_closed(self) {
        if let Ok(stream) = self.returned.await {
            stream.close().await;
        }
        drop(self.slot);
    }
}

/// The slot of a connection that is being opened. If that fails or is cancelled, a task releases the slot
/// when the server has closed the connection.
pub(super) struct OpeningSlot(Option<OccupiedSlot>);

impl OpeningSlot {
    pub(super) fn new(returned: oneshot::Receiver<Stream>, slot: Slot) -> Self {
        Self(Some(OccupiedSlot { returned, slot }))
    }

    /// Returns the slot of a connection that is open. `None` only if this was called before.
    pub(super) fn opened(mut self) -> Option<OccupiedSlot> {
        self.0.take()
    }
}

impl Drop for OpeningSlot {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(slot.release_when_closed());
        }
    }
}
