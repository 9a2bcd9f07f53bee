//! The bytes from a client, and how many of them may go to Actix.
//!
//! Actix gets one request at a time: its head after it has been checked, its body, and the next head only when the
//! previous response has been written. So a response always belongs to the request that Actix has, and no bytes
//! after the last request of a connection get a response.

use std::rc::Rc;

use bytes::{Buf as _, BytesMut};
use tokio::io::ReadBuf;

use super::chunks::Decoder;
use super::head::{self, MAX_HEAD, Rejection};
use crate::http::activity::{Activity, SMALL_REMAINDER, Unreceived};

mod parse;

use parse::Parsed;

/// The maximum number of bytes that are kept while a request is in progress or a head is incomplete.
const MAX_STASH: usize = MAX_HEAD;
/// The maximum number of bytes of an abandoned body that are read before the connection closes.
pub(crate) const MAX_DISCARDED: u64 = 16 * 1024 * 1024;

/// The bytes that one connection receives.
pub(crate) struct Inbound {
    state: State,
    /// Received, but not yet forwarded to Actix.
    buffered: BytesMut,
    /// The number of buffered bytes that may be forwarded.
    forwardable: usize,
    /// A chunked body that has been encoded again, but not yet forwarded to Actix.
    chunks: BytesMut,
    /// How many bytes of an abandoned body must still be replaced by filler for Actix.
    substitute: u64,
    /// Bytes of a body, or after the last request, that were discarded.
    discarded: u64,
    /// How many bytes of an incomplete head have been parsed already.
    parsed: usize,
    /// Actix has a request whose response has not been written.
    in_request: bool,
    activity: Rc<Activity>,
}

/// The part that the client sends next.
enum State {
    /// A head.
    Head,
    /// The rest of a body with a length.
    Bytes(u64),
    /// The rest of a chunked body.
    Chunks(Decoder),
    /// The rest of a body that Actix considers complete.
    Abandoned(u64),
    /// Bytes after the last request, which are discarded.
    Finished,
    /// Bytes after a malformed body, which cannot be interpreted.
    Malformed,
}

impl Inbound {
    pub(crate) fn new(activity: Rc<Activity>) -> Self {
        Self {
            state: State::Head,
            buffered: BytesMut::new(),
            forwardable: 0,
            chunks: BytesMut::new(),
            substitute: 0,
            discarded: 0,
            parsed: 0,
            in_request: false,
            activity,
        }
    }

    /// Whether everything received has been forwarded or discarded.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffered.is_empty() && self.chunks.is_empty()
    }

    /// Whether more may be received.
    pub(crate) fn has_capacity(&self) -> bool {
        self.buffered.len() < MAX_STASH && self.discarded < MAX_DISCARDED
    }

    /// Whether no request can follow, so that Actix may treat the connection as closed.
    pub(crate) fn has_ended(&self) -> bool {
        let responded = !self.in_request;
        let exhausted = self.discarded >= MAX_DISCARDED;
        self.forwardable == 0
            && self.chunks.is_empty()
            && match self.state {
                State::Malformed => true,
                State::Finished => responded,
                _ => responded && exhausted,
            }
    }

    /// Whether Actix has a request whose response has not been written.
    pub(crate) fn in_request(&self) -> bool {
        self.in_request
    }

    /// Records that all output of Actix has been written. Returns whether that ends a request.
    pub(crate) fn written(&mut self) -> bool {
        if !self.in_request || self.activity.is_busy() {
            return false;
        }
        self.in_request = false;
        self.activity.written();
        true
    }

    /// Whether the rest of a body is read only to be discarded.
    pub(crate) fn discards(&self) -> bool {
        match self.state {
            State::Abandoned(_) => true,
            State::Chunks(_) => self.activity.body_is_abandoned(),
            _ => false,
        }
    }

    /// Whether a part of a body was forwarded and more of it follows.
    pub(crate) fn in_body(&self) -> bool {
        self.substitute > 0 || matches!(self.state, State::Bytes(_) | State::Chunks(_))
    }

    /// Whether the rest of the body must stay in the kernel. No handler reads it yet, and if none ever does, the
    /// bytes that Actix reads ahead occupy memory without need.
    pub(crate) fn waits_for_handler(&self) -> bool {
        matches!(self.state, State::Bytes(_) | State::Chunks(_)) && self.activity.ignores_body()
    }

    /// Takes the bytes in `buf` after its first `before` bytes, and leaves there those that may go to Actix at
    /// once, which are usually all.
    pub(crate) fn received(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        if !self.buffered.is_empty() {
            self.keep(buf, before);
            return;
        }
        let fresh = buf.filled_mut().get_mut(before..).unwrap_or_default();
        let parsed = match self.parse(fresh) {
            Ok(parsed) => parsed,
            Err(rejection) => {
                buf.set_filled(before);
                self.replace(*rejection);
                return;
            }
        };
        if parsed.discard > 0 {
            // The rest moves to the front, which only the buffer can do.
            self.keep(buf, before);
            self.buffered
                .advance(parsed.discard.min(self.buffered.len()));
            self.forwardable = parsed.forward;
        } else {
            let end = before + parsed.forward;
            self.keep(buf, end);
        }
    }

    /// Moves everything after the first `from` bytes to the buffer.
    fn keep(&mut self, buf: &mut ReadBuf<'_>, from: usize) {
        let rest = buf.filled().get(from..).unwrap_or_default();
        if !rest.is_empty() {
            self.buffered.extend_from_slice(rest);
            buf.set_filled(from);
        }
    }

    /// Moves kept bytes that may go to Actix now into `buf`. Returns false if there are none.
    pub(crate) fn forward(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        self.drop_abandoned_body();
        if self.substitute > 0 {
            self.fill_substitute(buf);
            return true;
        }
        loop {
            if self.forwardable > 0 {
                let bytes = self
                    .forwardable
                    .min(buf.remaining())
                    .min(self.buffered.len());
                buf.put_slice(&self.buffered.split_to(bytes));
                self.forwardable -= bytes;
                self.free_empty_stash();
                return bytes > 0;
            }
            if !self.chunks.is_empty() {
                let bytes = self.chunks.len().min(buf.remaining());
                buf.put_slice(&self.chunks.split_to(bytes));
                if self.chunks.is_empty() {
                    self.chunks = BytesMut::new();
                }
                return bytes > 0;
            }
            if self.buffered.is_empty() || self.waits_for_handler() {
                return false;
            }
            let mut buffered = std::mem::take(&mut self.buffered);
            let parsed = self.parse(&mut buffered);
            self.buffered = buffered;
            match parsed {
                Err(rejection) => self.replace(*rejection),
                Ok(Parsed {
                    discard: 0,
                    forward: 0,
                }) => return false,
                Ok(parsed) => {
                    self.buffered
                        .advance(parsed.discard.min(self.buffered.len()));
                    self.forwardable = parsed.forward;
                    self.free_empty_stash();
                }
            }
        }
    }

    fn free_empty_stash(&mut self) {
        if self.buffered.is_empty() {
            self.buffered = BytesMut::new();
        }
    }

    /// Rejects a head that did not arrive in time.
    pub(crate) fn reject_slow_head(&mut self) {
        self.replace(*head::too_slow());
    }

    /// Replaces a rejected head with the last request of the connection.
    fn replace(&mut self, rejection: Rejection) {
        self.buffered = BytesMut::from(rejection.request.as_slice());
        self.forwardable = self.buffered.len();
        self.state = State::Finished;
        self.in_request = true;
        self.activity.reject(rejection.head);
        self.activity.head_forwarded(false, true);
    }

    /// The edge has a response and reads no more of the body. Actix gets filler instead of a small rest, so that
    /// it continues with the connection, and the rest is discarded when it arrives.
    fn drop_abandoned_body(&mut self) {
        if !self.activity.body_is_abandoned() {
            return;
        }
        if let State::Bytes(rest) = self.state {
            if self.activity.closes_after_response() || rest > SMALL_REMAINDER {
                self.state = State::Finished;
            } else {
                self.substitute = rest;
                self.state = State::Abandoned(rest);
            }
        }
    }

    fn fill_substitute(&mut self, buf: &mut ReadBuf<'_>) {
        let free = u64::try_from(buf.remaining()).unwrap_or(u64::MAX);
        let bytes = self.substitute.min(free);
        // Bounded by the free part of the buffer.
        let length = usize::try_from(bytes).unwrap_or(0);
        buf.initialize_unfilled_to(length);
        buf.advance(length);
        self.substitute -= bytes;
        if self.substitute == 0 {
            self.activity.set_unreceived(Unreceived::Nothing);
        }
    }
}
