//! Requests to the server to cancel a statement whose connection was given up.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::CancelToken;

use super::observed_stream::TlsHandshake;
use super::occupied_slot::OpeningSlot;
use super::slots::{Address, Purpose, Slots};
use super::socket::Socket;
use crate::store::postgres::url::SocketOptions;

/// The pause between two requests to cancel the same statement.
const CANCEL_PAUSE: Duration = Duration::from_secs(3);
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// The data and the slots needed to cancel the statement of a connection.
pub(super) struct Canceller {
    pub(super) token: CancelToken,
    pub(super) slots: Arc<Slots>,
    pub(super) socket: SocketOptions,
    /// Creates a TLS handshake for each request.
    pub(super) new_handshake: Box<dyn Fn() -> TlsHandshake + Send + Sync>,
}

impl Canceller {
    /// Sends requests to cancel the statement until the caller drops the future. The server does not respond to
    /// them. The connection itself shows whether one had an effect.
    pub(super) async fn cancel_repeatedly(self, address: &Address) {
        loop {
            let slot = self.slots.acquire(Purpose::Cancel, address).await;
            let connecting = timeout(CANCEL_TIMEOUT, Socket::connect(address, &self.socket));
            if let (Some(slot), Ok(Ok((socket, returned)))) = (slot, connecting.await) {
                // Whatever the result, the slot stays occupied until the server has closed the socket.
                let opening = OpeningSlot::new(returned, slot);
                let request = self.token.cancel_query_raw(socket, (self.new_handshake)());
                let _ = timeout(CANCEL_TIMEOUT, request).await;
                drop(opening);
            }
            sleep(CANCEL_PAUSE).await;
        }
    }
}
