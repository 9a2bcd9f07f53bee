//! The task that drives a connection until the server has closed it.
//!
//! The connection future of tokio-postgres ends with its client, although the server may still execute a
//! statement, for minutes if a commit waits for a standby. This task outlives the client: it holds the
//! connection's slot until the server has closed the connection, and requests that the server cancel the statement
//! that the client gave up.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_postgres::AsyncMessage;

use super::cancel::Canceller;
use super::messages::ServerState;
use super::observed_stream::{ObservedStream, TlsSocket};
use super::occupied_slot::OccupiedSlot;
use super::slots::Address;
use super::socket::Socket;
use crate::store::pool::ConnectionPermits;

/// How long sending the Terminate message to an idle server may take.
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(2);

/// The connection of tokio-postgres.
pub(super) type DrivenConnection =
    tokio_postgres::Connection<ObservedStream<Socket>, ObservedStream<TlsSocket>>;

/// Sent to the task when the client gives up the connection.
struct GivenUp {
    /// Whether the server may still execute a statement.
    busy: bool,
    /// Released when the server has closed the connection.
    _permits: Option<ConnectionPermits>,
}

/// Keeps the connection open. Dropping it closes the connection.
pub(crate) struct ConnectionGuard {
    pub(super) state: Arc<ServerState>,
    give_up: Option<oneshot::Sender<GivenUp>>,
    closed: oneshot::Receiver<()>,
}

impl ConnectionGuard {
    /// Closes the connection. The task holds `permits` until the server has closed it as well.
    pub(super) fn give_up(&mut self, permits: Option<ConnectionPermits>) {
        if let Some(give_up) = self.give_up.take() {
            let busy = self.state.is_busy();
            // If the task has ended, this drops the permits here.
            let _ = give_up.send(GivenUp {
                busy,
                _permits: permits,
            });
        }
    }

    /// Waits until the connection is closed on this side.
    pub(crate) async fn closed(&mut self) {
        let _ = (&mut self.closed).await;
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.give_up(None);
    }
}

/// The parts that the task of a connection needs.
pub(super) struct Driver {
    pub(super) connection: DrivenConnection,
    pub(super) slot: OccupiedSlot,
    pub(super) address: Address,
    pub(super) canceller: Canceller,
    /// The most recent server that the pool connected to.
    pub(super) current: watch::Receiver<Option<Address>>,
    /// Called for each notification.
    pub(super) on_notification: Box<dyn Fn() + Send + Sync>,
}

impl Driver {
    /// Starts the task.
    pub(super) fn start(self, state: Arc<ServerState>) -> ConnectionGuard {
        let (give_up, given_up) = oneshot::channel();
        let (close, closed) = oneshot::channel();
        tokio::spawn(self.run(given_up, close));
        ConnectionGuard {
            state,
            give_up: Some(give_up),
            closed,
        }
    }

    async fn run(self, mut given_up: oneshot::Receiver<GivenUp>, close: oneshot::Sender<()>) {
        let Self {
            mut connection,
            on_notification,
            ..
        } = self;
        let end = {
            let mut driving = std::pin::pin!(async {
                // `None` and an error are final.
                while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                    if let AsyncMessage::Notification(_) = message {
                        on_notification();
                    }
                }
            });
            tokio::select! {
                () = &mut driving => None,
                end = &mut given_up => match end {
                    Ok(end) if end.busy => Some((end, true)),
                    // The server is idle: only the Terminate message remains to be sent.
                    Ok(end) => {
                        let blocked = timeout(TERMINATE_TIMEOUT, driving).await.is_err();
                        Some((end, blocked))
                    }
                    // Unreachable: the guard always sends.
                    Err(_) => None,
                },
            }
        };
        drop(connection);
        drop(close);
        let closed = self.slot.release_when_closed();
        match end {
            // `given_up` lives until then, because it holds the permits that the guard sends meanwhile.
            None => closed.await,
            Some((end, cancel)) => {
                let canceller = cancel.then_some(self.canceller);
                wait_until_closed(closed, self.address, canceller, self.current, end).await;
            }
        }
    }
}

/// Waits until the server has closed the connection. Meanwhile it sends cancel requests if there is a
/// `canceller`.
async fn wait_until_closed(
    closed: impl Future<Output = ()>,
    address: Address,
    canceller: Option<Canceller>,
    mut current: watch::Receiver<Option<Address>>,
    end: GivenUp,
) {
    let mut closed = std::pin::pin!(async {
        match canceller {
            None => closed.await,
            Some(canceller) => tokio::select! {
                () = closed => {}
                () = canceller.cancel_repeatedly(&address) => {}
            },
        }
    });
    let moved = current.wait_for(|current| current.as_ref().is_some_and(|at| *at != address));
    tokio::select! {
        () = &mut closed => return,
        // The pool now connects to another server: connections to this one no longer need a permit.
        _ = moved => drop(end),
    }
    closed.await;
}
