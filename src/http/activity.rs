//! The state of one connection, which the edge and the connection below Actix share.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use tokio::time::Instant;

use super::problem::Problem;
use super::response::budget::Permit;

/// The part of a request's body that has not been received yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreceived {
    /// The body is complete, or the request has none.
    Nothing,
    /// This many bytes.
    Bytes(u64),
    /// Chunks, whose number of bytes is not known.
    Chunks,
}

/// The maximum number of bytes of an abandoned body for which a connection is kept open. If more bytes are left,
/// the connection closes after the response.
pub(crate) const SMALL_REMAINDER: u64 = 128 * 1024;

/// A head that was rejected below Actix.
#[derive(Clone, Debug)]
pub(crate) struct RejectedHead {
    /// The response.
    pub(crate) problem: Problem,
    /// Whether the method and the path are those that the client sent.
    pub(crate) readable: bool,
}

/// The requests of one connection, one at a time. Belongs to one worker, so it needs no lock.
#[derive(Debug)]
pub(crate) struct Activity {
    /// Actix has a request whose response it has not returned completely.
    busy: Cell<bool>,
    /// When the first byte of an incomplete head arrived.
    head_since: Cell<Option<Instant>>,
    /// When the last part of a response was sent, or the connection was opened.
    idle_since: Cell<Instant>,
    /// The request has a body that no handler has read to its end.
    unread: Cell<bool>,
    /// A handler has started to read the body.
    reading: Cell<bool>,
    /// Wakes the connection when a handler starts to read the body.
    reading_waker: RefCell<Option<Waker>>,
    unreceived: Cell<Unreceived>,
    /// The response exists and no handler reads the rest of the body.
    abandoned: Cell<bool>,
    /// The coding of the body is malformed, so nothing after it can be understood.
    malformed: Cell<bool>,
    /// The current response is the last one of the connection.
    last: Cell<bool>,
    /// The connection is beyond `MAX_CONNECTIONS`.
    overflow: Cell<bool>,
    /// Boxed, because few connections have one.
    rejected: RefCell<Option<Box<RejectedHead>>>,
    /// Held until the response has been written to the socket.
    permit: RefCell<Option<Permit>>,
    /// When the response that is being sent existed, unless it is a stream.
    response_since: Cell<Option<Instant>>,
    /// The client has closed its side of the connection.
    closed: Cell<bool>,
    /// Wakes the task that waits for the client to close.
    close_waker: RefCell<Option<Waker>>,
    /// The end of the connection would look like the end of the response, which is incomplete.
    incomplete: Cell<bool>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            busy: Cell::new(false),
            head_since: Cell::new(None),
            idle_since: Cell::new(Instant::now()),
            unread: Cell::new(false),
            reading: Cell::new(false),
            reading_waker: RefCell::new(None),
            unreceived: Cell::new(Unreceived::Nothing),
            abandoned: Cell::new(false),
            malformed: Cell::new(false),
            last: Cell::new(false),
            overflow: Cell::new(false),
            rejected: RefCell::new(None),
            permit: RefCell::new(None),
            response_since: Cell::new(None),
            closed: Cell::new(false),
            close_waker: RefCell::new(None),
            incomplete: Cell::new(false),
        }
    }
}

/// Methods for the connection.
impl Activity {
    /// Records that bytes of a head have arrived. The timeout of a head starts with its first byte.
    pub(crate) fn head_started(&self) {
        if self.head_since.get().is_none() {
            self.head_since.set(Some(Instant::now()));
        }
    }

    /// Records that a complete head goes to Actix. `body` is whether it announces a body, `last` whether the
    /// client expects no further response.
    pub(crate) fn head_forwarded(&self, body: bool, last: bool) {
        self.head_since.set(None);
        self.busy.set(true);
        self.unread.set(body);
        self.reading.set(false);
        self.abandoned.set(false);
        self.malformed.set(false);
        if last || self.overflow.get() {
            self.last.set(true);
        }
    }

    pub(crate) fn set_unreceived(&self, unreceived: Unreceived) {
        self.unreceived.set(unreceived);
    }

    /// Records that the coding of the body is malformed.
    pub(crate) fn fail_body(&self) {
        self.malformed.set(true);
        self.last.set(true);
    }

    /// Records that the next request that Actix gets represents a rejected head.
    pub(crate) fn reject(&self, rejected: RejectedHead) {
        *self.rejected.borrow_mut() = Some(Box::new(rejected));
    }

    /// Records that the connection is beyond `MAX_CONNECTIONS`: it gets one request, and only probes are served.
    pub(crate) fn set_overflow(&self) {
        self.overflow.set(true);
    }

    /// Records that the client has closed its side. It may still read, so a response that ends by itself
    /// continues.
    pub(crate) fn client_closed(&self) {
        self.closed.set(true);
        if let Some(waker) = self.close_waker.take() {
            waker.wake();
        }
    }

    /// Waits until the client closes its side. Only one task may wait.
    pub(crate) async fn wait_for_close(&self) {
        poll_fn(|cx| {
            if self.closed.get() {
                return Poll::Ready(());
            }
            self.close_waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Records that bytes of a response were sent. A response may be a stream that never ends.
    pub(crate) fn sent(&self) {
        self.idle_since.set(Instant::now());
    }

    /// Records that everything has been written to the socket.
    pub(crate) fn written(&self) {
        if self.permit.borrow().is_some() {
            *self.permit.borrow_mut() = None;
        }
    }

    /// Takes the time at which the response that is being sent existed. `None` if there is none, or if it is a stream.
    pub(crate) fn take_response_since(&self) -> Option<Instant> {
        self.response_since.take()
    }

    /// Whether the connection must end with a reset if it ends now.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.incomplete.get()
    }

    /// Whether Actix has a request whose response it has not returned completely.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.get()
    }

    /// When the first byte of an incomplete head arrived.
    pub(crate) fn head_since(&self) -> Option<Instant> {
        self.head_since.get()
    }

    /// When the connection became idle, if it is.
    pub(crate) fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }

    /// Whether no handler has started to read the body, and the response does not exist yet.
    pub(crate) fn ignores_body(&self) -> bool {
        self.busy.get() && !self.reading.get() && !self.abandoned.get()
    }

    /// Wakes the connection when a handler starts to read the body.
    pub(crate) fn wait_for_handler(&self, waker: &Waker) {
        self.reading_waker.replace(Some(waker.clone()));
    }

    /// Whether the response exists and no handler reads the rest of the body.
    pub(crate) fn body_is_abandoned(&self) -> bool {
        self.abandoned.get()
    }
}

/// Methods for the edge and the extractors.
impl Activity {
    /// Records that a request has reached the edge. The connection is busy until the guard is dropped.
    pub(crate) fn begin(self: &Rc<Self>) -> RequestGuard {
        self.head_since.set(None);
        self.busy.set(true);
        RequestGuard(Rc::clone(self))
    }

    /// Takes the rejected head that the request represents, if any.
    pub(crate) fn take_rejected_head(&self) -> Option<RejectedHead> {
        self.rejected.borrow_mut().take().map(|rejected| *rejected)
    }

    /// Whether the request has a body that has not been read to its end.
    pub(crate) fn has_unread_body(&self) -> bool {
        self.unread.get()
    }

    pub(crate) fn start_reading_body(&self) {
        self.reading.set(true);
        if let Some(waker) = self.reading_waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn finish_reading_body(&self) {
        self.unread.set(false);
    }

    /// Records that the response exists and no handler reads the rest of the body.
    pub(crate) fn abandon_body(&self) {
        self.abandoned.set(true);
    }

    pub(crate) fn unreceived(&self) -> Unreceived {
        self.unreceived.get()
    }

    pub(crate) fn has_malformed_body(&self) -> bool {
        self.malformed.get()
    }

    /// Makes the current response the last one of the connection.
    pub(crate) fn close_after_response(&self) {
        self.last.set(true);
    }

    /// Whether the current response is the last one of the connection.
    pub(crate) fn closes_after_response(&self) -> bool {
        self.last.get()
    }

    /// Whether the connection is beyond `MAX_CONNECTIONS`.
    pub(crate) fn is_overflow(&self) -> bool {
        self.overflow.get()
    }

    /// Records whether the current response is incomplete although the end of the connection would look like its end.
    /// While it is, the connection ends with a reset, also if the process is killed.
    pub(crate) fn set_incomplete(&self, incomplete: bool) {
        self.incomplete.set(incomplete);
    }

    /// Records that the response, which is not a stream, existed at this time. It is sent from then on.
    pub(crate) fn response_exists(&self, since: Instant) {
        self.response_since.set(Some(since));
    }

    /// Holds the permit until the response has been written to the socket.
    pub(crate) fn hold(&self, permit: Permit) {
        *self.permit.borrow_mut() = Some(permit);
    }
}

/// Keeps a connection busy, from the head of a request to the end of its response.
#[derive(Debug)]
pub(crate) struct RequestGuard(Rc<Activity>);

impl RequestGuard {
    pub(crate) fn activity(&self) -> &Activity {
        &self.0
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.busy.set(false);
        self.0.idle_since.set(Instant::now());
    }
}

#[cfg(test)]
mod tests;
