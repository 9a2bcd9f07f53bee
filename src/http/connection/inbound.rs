//! What a client has sent, and how much of it Actix may see yet.
//!
//! Actix gets one request at a time: its head when it has been checked, its body, and the next head
//! when the response before it is written. So a response always belongs to the request that Actix
//! has, and nothing behind the last request of a connection is answered.

use std::rc::Rc;

use bytes::{Buf as _, BytesMut};
use tokio::io::ReadBuf;

use super::chunks::Chunks;
use super::head::{self, MAX_HEAD, Refused};
use crate::http::{Activity, Missing, SMALL_REST};

mod parse;

use parse::Verdict;

/// The most bytes that are kept for later, while a request is answered or a head is not whole.
const MAX_STASH: usize = MAX_HEAD;
/// The most bytes of an unwanted body that are read before the connection ends.
pub(crate) const MAX_DISCARDED: u64 = 16 * 1024 * 1024;

/// The bytes of one connection on their way in.
pub(crate) struct Inbound {
    state: State,
    /// Received, and not handed to Actix.
    stash: BytesMut,
    /// So many bytes of it may be handed to Actix.
    cleared: usize,
    /// Chunks that are written anew, and not handed to Actix.
    chunks: BytesMut,
    /// So many bytes of a body nobody wants are still to be made up for Actix.
    made_up: u64,
    discarded: u64,
    /// So many bytes of a head that is not whole have been read in vain.
    seen: usize,
    /// Actix has a request whose response is not written.
    in_request: bool,
    activity: Rc<Activity>,
}

/// What comes next.
enum State {
    /// A head.
    Head,
    /// The rest of a body.
    Bytes(u64),
    Chunks(Chunks),
    /// The rest of a body that Actix believes to be complete.
    Unwanted(u64),
    /// Nothing that matters: the last request is there.
    Over,
    /// Nothing that could be understood.
    Broken,
}

impl Inbound {
    pub(crate) fn new(activity: Rc<Activity>) -> Self {
        Self {
            state: State::Head,
            stash: BytesMut::new(),
            cleared: 0,
            chunks: BytesMut::new(),
            made_up: 0,
            discarded: 0,
            seen: 0,
            in_request: false,
            activity,
        }
    }

    /// Whether nothing is kept for later.
    pub(crate) fn is_empty(&self) -> bool {
        self.stash.is_empty() && self.chunks.is_empty()
    }

    /// Whether there is room for more.
    pub(crate) fn has_room(&self) -> bool {
        self.stash.len() < MAX_STASH && self.discarded < MAX_DISCARDED
    }

    /// Whether no request can follow, so that Actix may take the connection for closed.
    pub(crate) fn has_ended(&self) -> bool {
        let answered = !self.in_request;
        let spent = self.discarded >= MAX_DISCARDED;
        self.cleared == 0
            && self.chunks.is_empty()
            && match self.state {
                State::Broken => true,
                State::Over => answered,
                _ => answered && spent,
            }
    }

    /// Whether Actix has a request whose response is not written.
    pub(crate) fn in_request(&self) -> bool {
        self.in_request
    }

    /// Everything that Actix had to send is written. True when that ends a request.
    pub(crate) fn written(&mut self) -> bool {
        if !self.in_request || self.activity.is_busy() {
            return false;
        }
        self.in_request = false;
        self.activity.written();
        true
    }

    /// Whether the rest of a body is awaited only to be thrown away.
    pub(crate) fn discards(&self) -> bool {
        match self.state {
            State::Unwanted(_) => true,
            State::Chunks(_) => self.activity.is_unwanted(),
            _ => false,
        }
    }

    /// Whether a part of a body was handed over and more of it is to come.
    pub(crate) fn in_body(&self) -> bool {
        self.made_up > 0 || matches!(self.state, State::Bytes(_) | State::Chunks(_))
    }

    /// Whether the rest of the body has to stay with the kernel: no handler reads it yet, and what
    /// Actix takes ahead of one that never does is memory for nothing.
    pub(crate) fn waits_for_handler(&self) -> bool {
        matches!(self.state, State::Bytes(_) | State::Chunks(_)) && self.activity.ignores_body()
    }

    /// Takes what has been read into `buf` behind its first `before` bytes, and leaves there what
    /// Actix may see at once: usually everything.
    pub(crate) fn received(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        if !self.stash.is_empty() {
            self.keep(buf, before);
            return;
        }
        let fresh = buf.filled_mut().get_mut(before..).unwrap_or_default();
        let verdict = match self.judge(fresh) {
            Ok(verdict) => verdict,
            Err(refused) => {
                buf.set_filled(before);
                self.put_in_place(*refused);
                return;
            }
        };
        if verdict.discard > 0 {
            // The rest moves, which happens in the stash.
            self.keep(buf, before);
            self.stash.advance(verdict.discard.min(self.stash.len()));
            self.cleared = verdict.pass;
        } else {
            let passes = before + verdict.pass;
            self.keep(buf, passes);
        }
    }

    /// Moves everything behind the first `from` bytes into the stash.
    fn keep(&mut self, buf: &mut ReadBuf<'_>, from: usize) {
        let rest = buf.filled().get(from..).unwrap_or_default();
        if !rest.is_empty() {
            self.stash.extend_from_slice(rest);
            buf.set_filled(from);
        }
    }

    /// Hands over what is kept and may be seen now; false when there is nothing.
    pub(crate) fn hand_over(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        self.give_up_body();
        if self.made_up > 0 {
            self.make_up(buf);
            return true;
        }
        loop {
            if self.cleared > 0 {
                let bytes = self.cleared.min(buf.remaining()).min(self.stash.len());
                buf.put_slice(&self.stash.split_to(bytes));
                self.cleared -= bytes;
                self.let_go();
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
            if self.stash.is_empty() || self.waits_for_handler() {
                return false;
            }
            let mut stash = std::mem::take(&mut self.stash);
            let verdict = self.judge(&mut stash);
            self.stash = stash;
            match verdict {
                Err(refused) => self.put_in_place(*refused),
                Ok(Verdict {
                    discard: 0,
                    pass: 0,
                }) => return false,
                Ok(verdict) => {
                    self.stash.advance(verdict.discard.min(self.stash.len()));
                    self.cleared = verdict.pass;
                    self.let_go();
                }
            }
        }
    }

    /// An empty stash keeps no memory.
    fn let_go(&mut self) {
        if self.stash.is_empty() {
            self.stash = BytesMut::new();
        }
    }

    /// A head whose time is over is refused.
    pub(crate) fn too_slow(&mut self) {
        self.put_in_place(*head::too_slow());
    }

    /// Puts a request in the place of one that is refused, as the last one.
    fn put_in_place(&mut self, refused: Refused) {
        self.stash = BytesMut::from(refused.request.as_slice());
        self.cleared = self.stash.len();
        self.state = State::Over;
        self.in_request = true;
        self.activity.refuse(refused.refusal);
        self.activity.head_passes(false, true);
    }

    /// The edge has a response and wants no more of the body. A small rest is made up, so that Actix
    /// goes on with the connection, and thrown away when it comes.
    fn give_up_body(&mut self) {
        if !self.activity.is_unwanted() {
            return;
        }
        if let State::Bytes(rest) = self.state {
            if self.activity.ends_after_this() || rest > SMALL_REST {
                self.state = State::Over;
            } else {
                self.made_up = rest;
                self.state = State::Unwanted(rest);
            }
        }
    }

    fn make_up(&mut self, buf: &mut ReadBuf<'_>) {
        let room = u64::try_from(buf.remaining()).unwrap_or(u64::MAX);
        let bytes = self.made_up.min(room);
        // Bounded by the room in the buffer.
        let length = usize::try_from(bytes).unwrap_or(0);
        buf.initialize_unfilled_to(length);
        buf.advance(length);
        self.made_up -= bytes;
        if self.made_up == 0 {
            self.activity.set_missing(Missing::Nothing);
        }
    }
}
