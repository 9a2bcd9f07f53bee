//! What is going on on one connection, as the edge tells the socket below it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use tokio::time::Instant;

/// The requests of one connection. Belongs to one worker, so it needs no lock.
#[derive(Debug)]
pub struct Activity {
    /// Requests being answered.
    busy: Cell<u32>,
    /// When the first byte of a head came that is not whole yet.
    head: Cell<Option<Instant>>,
    /// When the last answer began or went on, or the connection began.
    idle: Cell<Instant>,
    /// The client has closed its side.
    left: Cell<bool>,
    /// Who waits for that.
    waiting: RefCell<Option<Waker>>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            busy: Cell::new(0),
            head: Cell::new(None),
            idle: Cell::new(Instant::now()),
            left: Cell::new(false),
            waiting: RefCell::new(None),
        }
    }
}

impl Activity {
    /// Bytes have come. Between requests they begin a head.
    pub fn received(&self) {
        if !self.is_busy() && self.head.get().is_none() {
            self.head.set(Some(Instant::now()));
        }
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

    /// Bytes of an answer have gone out. An answer may be a stream that never ends.
    pub fn sent(&self) {
        self.idle.set(Instant::now());
    }

    /// Whether a request is being answered.
    pub fn is_busy(&self) -> bool {
        self.busy.get() > 0
    }

    /// When a head began that is not whole yet.
    pub fn head_since(&self) -> Option<Instant> {
        self.head.get()
    }

    /// Since when nothing has been asked and nothing been sent.
    pub fn idle_since(&self) -> Instant {
        self.idle.get()
    }

    /// A head is whole: its request is busy until the guard is dropped.
    pub fn begin(self: &Rc<Self>) -> Busy {
        self.head.set(None);
        self.busy.set(self.busy.get() + 1);
        Busy(Rc::clone(self))
    }
}

/// A request being answered.
#[derive(Debug)]
pub struct Busy(Rc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get().saturating_sub(1));
        self.0.idle.set(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_under_way_from_its_first_byte_until_its_request_begins() {
        let activity = Rc::new(Activity::default());
        assert!(!activity.is_busy() && activity.head_since().is_none());
        activity.received();
        let began = activity.head_since().unwrap();
        activity.received();
        assert_eq!(
            activity.head_since(),
            Some(began),
            "the clock runs from the first byte"
        );
        let request = activity.begin();
        assert!(activity.is_busy() && activity.head_since().is_none());
        activity.received();
        assert!(activity.head_since().is_none(), "that is its body");
        drop(request);
        assert!(!activity.is_busy());
        activity.received();
        assert!(activity.head_since().is_some(), "the next head");
    }
}
