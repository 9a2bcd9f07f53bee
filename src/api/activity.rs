//! What is going on on one connection: the edge and the connection below Actix tell each other here.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use tokio::time::Instant;

use super::budget::Permit;
use super::problem::Problem;

/// What of the body of a request has not been received yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nothing: it is complete, or there is none.
    Nothing,
    /// So many bytes.
    Bytes(u64),
    /// Chunks, so nobody knows how many bytes.
    Chunks,
}

/// The rest of a body that nobody wants, in bytes, for which a connection is kept. With a larger one
/// the connection ends after the response.
pub const SMALL_REST: u64 = 128 * 1024;

/// A request that never becomes one, because its head was refused below Actix.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What the client is told.
    pub problem: Problem,
    /// Whether the method and the path are those of the client.
    pub readable: bool,
}

/// The requests of one connection, one at a time. Belongs to one worker, so it needs no lock.
#[derive(Debug)]
pub struct Activity {
    /// A request has been handed to Actix, and its response has not been handed back as a whole.
    busy: Cell<bool>,
    /// When the first byte of a head came that is not whole yet.
    head: Cell<Option<Instant>>,
    /// When the last response began or went on, or the connection began.
    idle: Cell<Instant>,
    /// The request has a body that no handler has read to its end.
    unread: Cell<bool>,
    /// A handler reads the body.
    wanted: Cell<bool>,
    /// The connection, when it waits for that.
    reader: RefCell<Option<Waker>>,
    missing: Cell<Missing>,
    /// The response is there, and nobody wants the rest of the body.
    unwanted: Cell<bool>,
    /// The coding of the body is broken, so nothing behind it can be understood.
    broken: Cell<bool>,
    /// The response under way is the last one of the connection.
    last: Cell<bool>,
    /// The connection is beyond `MAX_CONNECTIONS`.
    overflow: Cell<bool>,
    /// In a box, as hardly any connection has one.
    refusal: RefCell<Option<Box<Refusal>>>,
    /// Held until the response has been written to the socket.
    permit: RefCell<Option<Permit>>,
    /// The client has closed its side.
    left: Cell<bool>,
    /// Who waits for that.
    waiting: RefCell<Option<Waker>>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            busy: Cell::new(false),
            head: Cell::new(None),
            idle: Cell::new(Instant::now()),
            unread: Cell::new(false),
            wanted: Cell::new(false),
            reader: RefCell::new(None),
            missing: Cell::new(Missing::Nothing),
            unwanted: Cell::new(false),
            broken: Cell::new(false),
            last: Cell::new(false),
            overflow: Cell::new(false),
            refusal: RefCell::new(None),
            permit: RefCell::new(None),
            left: Cell::new(false),
            waiting: RefCell::new(None),
        }
    }
}

/// What the connection says and asks.
impl Activity {
    /// Bytes of a head have come. Its time runs from the first one.
    pub fn head_begins(&self) {
        if self.head.get().is_none() {
            self.head.set(Some(Instant::now()));
        }
    }

    /// A whole head goes to Actix, and this much of its body is missing; `body` says whether it has
    /// one, `last` whether the client wants no further response.
    pub fn head_passes(&self, body: bool, last: bool) {
        self.head.set(None);
        self.busy.set(true);
        self.unread.set(body);
        self.wanted.set(false);
        self.unwanted.set(false);
        self.broken.set(false);
        if last || self.overflow.get() {
            self.last.set(true);
        }
    }

    /// So much of the body of the request is missing now.
    pub fn set_missing(&self, missing: Missing) {
        self.missing.set(missing);
    }

    /// The coding of the body is broken.
    pub fn break_body(&self) {
        self.broken.set(true);
        self.last.set(true);
    }

    /// The request that Actix gets next stands for a head that is refused.
    pub fn refuse(&self, refusal: Refusal) {
        *self.refusal.borrow_mut() = Some(Box::new(refusal));
    }

    /// The connection is beyond `MAX_CONNECTIONS`: one request, and only some are served.
    pub fn set_overflow(&self) {
        self.overflow.set(true);
    }

    /// The client has closed its side. It may still read, so this ends no response that ends by itself.
    pub fn leave(&self) {
        self.left.set(true);
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    /// Waits until the client closes its side. For one waiter.
    pub async fn left(&self) {
        poll_fn(|cx| {
            if self.left.get() {
                return Poll::Ready(());
            }
            self.waiting.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Bytes of a response have gone out. A response may be a stream that never ends.
    pub fn sent(&self) {
        self.idle.set(Instant::now());
    }

    /// Everything has been written to the socket.
    pub fn written(&self) {
        if self.permit.borrow().is_some() {
            *self.permit.borrow_mut() = None;
        }
    }

    /// Whether a request is being answered.
    pub fn is_busy(&self) -> bool {
        self.busy.get()
    }

    /// When a head began that is not whole yet.
    pub fn head_since(&self) -> Option<Instant> {
        self.head.get()
    }

    /// Since when nothing has been asked and nothing been sent.
    pub fn idle_since(&self) -> Instant {
        self.idle.get()
    }

    /// Whether no handler has begun to read the body, and none has been found not to.
    pub fn ignores_body(&self) -> bool {
        self.busy.get() && !self.wanted.get() && !self.unwanted.get()
    }

    /// Wakes the connection when a handler begins to read the body.
    pub fn wait_for_handler(&self, waker: &Waker) {
        self.reader.replace(Some(waker.clone()));
    }

    /// Whether the response is there and nobody wants the rest of the request's body.
    pub fn is_unwanted(&self) -> bool {
        self.unwanted.get()
    }
}

/// What the edge says and asks.
impl Activity {
    /// A request reaches the edge: it is busy until the guard is dropped.
    pub fn begin(self: &Rc<Self>) -> Busy {
        self.head.set(None);
        self.busy.set(true);
        Busy(Rc::clone(self))
    }

    /// Why the request must be refused, if it stands for a head that was.
    pub(super) fn take_refusal(&self) -> Option<Refusal> {
        self.refusal.borrow_mut().take().map(|refusal| *refusal)
    }

    /// Whether the request has a body that has not been read to its end.
    pub(super) fn is_unread(&self) -> bool {
        self.unread.get()
    }

    /// A handler reads the body from now on.
    pub(super) fn want_body(&self) {
        self.wanted.set(true);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// The body has been read to its end.
    pub(super) fn body_is_read(&self) {
        self.unread.set(false);
    }

    /// Nobody wants the rest of the body.
    pub(super) fn abandon_body(&self) {
        self.unwanted.set(true);
    }

    /// What of the body has not been received yet.
    pub fn missing(&self) -> Missing {
        self.missing.get()
    }

    /// Whether the coding of the body is broken.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// The response under way is the last one of the connection.
    pub(super) fn end_after_this(&self) {
        self.last.set(true);
    }

    /// Whether the response under way is the last one of the connection.
    pub fn ends_after_this(&self) -> bool {
        self.last.get()
    }

    /// Whether the connection is beyond `MAX_CONNECTIONS`.
    pub(super) fn is_overflow(&self) -> bool {
        self.overflow.get()
    }

    /// Holds the permit until the response has been written to the socket.
    pub(super) fn hold(&self, permit: Permit) {
        *self.permit.borrow_mut() = Some(permit);
    }
}

/// A request being answered, from its head to the end of its response.
#[derive(Debug)]
pub struct Busy(Rc<Activity>);

impl Busy {
    pub(super) fn activity(&self) -> &Activity {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(false);
        self.0.idle.set(Instant::now());
    }
}

#[cfg(test)]
mod tests;
