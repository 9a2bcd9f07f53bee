//! A connection to the server: its client, and the task that drives it to its end.
//!
//! The task outlives the client. It holds the connection's slot until the server has closed the
//! connection, and has the server cancel the statement that the client gave up.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use diesel_async::pooled_connection::PoolableConnection as _;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, CancelToken};

use super::super::sqlstate::SqlState;
use super::super::url::SocketOptions;
use super::observed_stream::{Tap, Tapped, TlsHandshake, TlsSocket};
use super::slots::{Address, Purpose, Slot, Slots};
use super::socket::{Socket, Stream};
use crate::store::pool::{ConnectionPermits, Poolable};

/// How long an idle server may take to hear that it is no longer needed.
const GOODBYE: Duration = Duration::from_secs(2);
/// Between two requests to cancel the same statement.
const CANCEL_PAUSE: Duration = Duration::from_secs(3);
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// What tokio-postgres reads and writes.
pub(crate) type Wire = tokio_postgres::Connection<Tapped<Socket>, Tapped<TlsSocket>>;

/// A socket and the slot that it has until the server has closed it.
pub(crate) struct Opened {
    returned: oneshot::Receiver<Stream>,
    slot: Slot,
}

impl Opened {
    async fn closed(self) {
        if let Ok(stream) = self.returned.await {
            stream.close().await;
        }
        drop(self.slot);
    }
}

/// A socket on which a session is being opened. If that is given up, it is closed like any other.
pub(crate) struct Attempt(Option<Opened>);

impl Attempt {
    pub(crate) fn new(returned: oneshot::Receiver<Stream>, slot: Slot) -> Self {
        Self(Some(Opened { returned, slot }))
    }

    /// The session is open.
    pub(crate) fn succeed(mut self) -> Option<Opened> {
        self.0.take()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(opened) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(opened.closed());
        }
    }
}

/// How to have a statement cancelled.
pub(crate) struct Cancel {
    pub(crate) token: CancelToken,
    pub(crate) slots: Arc<Slots>,
    pub(crate) socket: SocketOptions,
    /// For one handshake each.
    pub(crate) handshake: Box<dyn Fn() -> TlsHandshake + Send + Sync>,
}

impl Cancel {
    /// Asks again and again.
    async fn keep_asking(self, address: &Address) {
        loop {
            // Whether it helped is seen at the connection itself.
            let slot = self.slots.take(Purpose::Cancel, address).await;
            let connecting = timeout(CANCEL_TIMEOUT, Socket::connect(address, &self.socket));
            if let (Some(slot), Ok(Ok((socket, returned)))) = (slot, connecting.await) {
                // However this ends, the slot is taken until the server has closed the socket.
                let closed = Attempt::new(returned, slot);
                let asking = self.token.cancel_query_raw(socket, (self.handshake)());
                let _ = timeout(CANCEL_TIMEOUT, asking).await;
                drop(closed);
            }
            sleep(CANCEL_PAUSE).await;
        }
    }
}

/// How the client ended.
struct End {
    at_work: bool,
    /// Given back when the server has closed the connection.
    _held: Option<ConnectionPermits>,
}

/// The client's hold on its connection. On drop the connection is closed.
pub(crate) struct Hold {
    tap: Arc<Tap>,
    end: Option<oneshot::Sender<End>>,
    over: oneshot::Receiver<()>,
}

impl Hold {
    fn end(&mut self, held: Option<ConnectionPermits>) {
        if let Some(end) = self.end.take() {
            let at_work = self.tap.is_busy();
            // If it is over already, what is held is given back right here.
            let _ = end.send(End {
                at_work,
                _held: held,
            });
        }
    }

    /// Waits until the connection is over.
    pub(crate) async fn over(&mut self) {
        let _ = (&mut self.over).await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// All that the task of a connection needs.
pub(crate) struct Driver {
    pub(crate) wire: Wire,
    pub(crate) opened: Opened,
    pub(crate) address: Address,
    pub(crate) cancel: Cancel,
    /// The server that the pool connected to last.
    pub(crate) current: watch::Receiver<Option<Address>>,
    /// Called for each notification.
    pub(crate) notified: Box<dyn Fn() + Send + Sync>,
}

impl Driver {
    /// Starts the task.
    pub(crate) fn start(self, tap: Arc<Tap>) -> Hold {
        let (end, ended) = oneshot::channel();
        let (over, is_over) = oneshot::channel();
        tokio::spawn(self.run(ended, over));
        Hold {
            tap,
            end: Some(end),
            over: is_over,
        }
    }

    async fn run(self, mut ended: oneshot::Receiver<End>, over: oneshot::Sender<()>) {
        let Self {
            mut wire, notified, ..
        } = self;
        let end = {
            let mut driving = std::pin::pin!(async {
                // The end and an error are final.
                while let Some(Ok(message)) = poll_fn(|cx| wire.poll_message(cx)).await {
                    if let AsyncMessage::Notification(_) = message {
                        notified();
                    }
                }
            });
            tokio::select! {
                () = &mut driving => None,
                end = &mut ended => match end {
                    Ok(end) if end.at_work => Some((end, true)),
                    // It has nothing to wait for but that its goodbye is sent.
                    Ok(end) => {
                        let silent = timeout(GOODBYE, driving).await.is_err();
                        Some((end, silent))
                    }
                    // The client's hold always says how it ended.
                    Err(_) => None,
                },
            }
        };
        drop(wire);
        drop(over);
        let closed = self.opened.closed();
        match end {
            // What is held comes through `ended` at any time, and is dropped with it.
            None => closed.await,
            Some((end, at_work)) => {
                let cancel = at_work.then_some(self.cancel);
                give_up(closed, self.address, cancel, self.current, end).await;
            }
        }
    }
}

/// Waits until the server has closed the connection, and has it cancel what it is at.
async fn give_up(
    closed: impl Future<Output = ()>,
    address: Address,
    cancel: Option<Cancel>,
    mut current: watch::Receiver<Option<Address>>,
    end: End,
) {
    let mut closed = std::pin::pin!(async {
        match cancel {
            None => closed.await,
            Some(cancel) => tokio::select! {
                () = closed => {}
                () = cancel.keep_asking(&address) => {}
            },
        }
    });
    let elsewhere = current.wait_for(|current| current.as_ref().is_some_and(|at| *at != address));
    tokio::select! {
        () = &mut closed => return,
        // A server that the pool no longer connects to takes no share of its connections.
        _ = elsewhere => drop(end),
    }
    closed.await;
}

/// A connection for Diesel.
pub(crate) struct PgConnection {
    /// Dropped before the hold: the task then finds that nothing more will come.
    inner: AsyncPgConnection,
    hold: Hold,
    about: About,
    at_work: bool,
}

/// What is known of a session from its beginning.
pub(crate) struct About {
    /// The encoding of the database.
    pub(crate) encoding: String,
    /// How often the URL had named another place until then.
    pub(crate) generation: u64,
}

impl PgConnection {
    pub(crate) fn new(inner: AsyncPgConnection, hold: Hold, about: About) -> Self {
        Self {
            inner,
            hold,
            about,
            at_work: false,
        }
    }

    /// A statement begins: forgets the error of the one before. If the statement does not end, the
    /// connection is broken.
    pub(in crate::store) fn begin(&mut self) {
        self.hold.tap.clear();
        self.at_work = true;
    }

    /// The statement has ended. The code of its error, if it failed on the server.
    pub(crate) fn end(&mut self) -> Option<SqlState> {
        self.at_work = false;
        self.hold.tap.sqlstate()
    }

    /// The statement has succeeded.
    pub(in crate::store) fn succeeded(&mut self) {
        self.at_work = false;
    }

    /// The encoding of the database, if it cannot hold all orders.
    pub(in crate::store) fn other_encoding(&self) -> Option<&str> {
        let encoding = self.about.encoding.as_str();
        (encoding != "UTF8").then_some(encoding)
    }

    /// Diesel's part, and what keeps the connection open.
    pub(in crate::store) fn into_parts(self) -> (AsyncPgConnection, impl Drop + Send) {
        (self.inner, self.hold)
    }
}

impl Poolable for PgConnection {
    fn is_broken(&mut self) -> bool {
        self.at_work || self.inner.is_broken()
    }

    fn close(mut self, held: Option<ConnectionPermits>) {
        self.hold.end(held);
    }

    fn generation(&self) -> u64 {
        self.about.generation
    }

    async fn responds(&mut self) -> bool {
        // An empty statement goes to the server and back, and nothing is planned for it.
        self.begin();
        let answer = self.inner.batch_execute("").await;
        self.end();
        answer.is_ok()
    }
}

impl Deref for PgConnection {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        &self.inner
    }
}

impl DerefMut for PgConnection {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.inner
    }
}
