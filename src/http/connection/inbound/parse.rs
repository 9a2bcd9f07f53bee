//! Judges bytes from a client: what Actix may see, what it may not, and what has to wait.

use crate::http::Missing;
use crate::http::connection::chunks::Chunks;
use crate::http::connection::fields::Length;
use crate::http::connection::head::{self, MAX_HEAD, Refused};
use crate::http::connection::inbound::{Inbound, State};

/// What may be done with bytes, from the first one on.
pub(crate) struct Verdict {
    pub(crate) discard: usize,
    pub(crate) pass: usize,
}

impl Verdict {
    const WAIT: Self = Self {
        discard: 0,
        pass: 0,
    };
}

impl Inbound {
    pub(crate) fn judge(&mut self, bytes: &mut [u8]) -> Result<Verdict, Box<Refused>> {
        match &mut self.state {
            State::Over | State::Broken => Ok(self.throw_away(bytes.len())),
            State::Unwanted(rest) => {
                let here = within(*rest, bytes.len());
                *rest -= u64::try_from(here).unwrap_or(0);
                if *rest == 0 {
                    self.state = State::Head;
                }
                Ok(self.throw_away(here))
            }
            State::Chunks(_) => Ok(Verdict {
                discard: self.follow_chunks(bytes),
                pass: 0,
            }),
            State::Bytes(_) => {
                let pass = self.follow_body(bytes);
                Ok(Verdict { discard: 0, pass })
            }
            State::Head => self.judge_head(bytes),
        }
    }

    fn throw_away(&mut self, bytes: usize) -> Verdict {
        self.discarded += u64::try_from(bytes).unwrap_or(0);
        Verdict {
            discard: bytes,
            pass: 0,
        }
    }

    /// How many of the bytes belong to a chunked body. What they carry is written anew for Actix.
    fn follow_chunks(&mut self, bytes: &[u8]) -> usize {
        let State::Chunks(chunks) = &mut self.state else {
            return 0;
        };
        let before = self.chunks.len();
        let Ok(here) = chunks.rewrite(bytes, &mut self.chunks) else {
            self.chunks.truncate(before);
            self.state = State::Broken;
            self.activity.break_body();
            return bytes.len();
        };
        let missing = if chunks.is_complete() {
            Missing::Nothing
        } else {
            Missing::Chunks
        };
        self.body_goes_on(here, missing);
        here
    }

    /// How many of the bytes belong to a body with a length.
    fn follow_body(&mut self, bytes: &[u8]) -> usize {
        let (pass, missing) = match &mut self.state {
            State::Bytes(rest) => {
                let here = within(*rest, bytes.len());
                *rest -= u64::try_from(here).unwrap_or(0);
                let missing = match *rest {
                    0 => Missing::Nothing,
                    rest => Missing::Bytes(rest),
                };
                (here, missing)
            }
            // Chunks are handed over by themselves.
            State::Chunks(_) => (0, Missing::Chunks),
            _ => (0, Missing::Nothing),
        };
        self.body_goes_on(pass, missing);
        pass
    }

    fn body_goes_on(&mut self, bytes: usize, missing: Missing) {
        self.activity.set_missing(missing);
        if self.activity.is_unwanted() {
            self.discarded += u64::try_from(bytes).unwrap_or(0);
        }
        if missing == Missing::Nothing {
            self.state = if self.activity.ends_after_this() {
                State::Over
            } else {
                State::Head
            };
        }
    }

    fn judge_head(&mut self, bytes: &mut [u8]) -> Result<Verdict, Box<Refused>> {
        if self.in_request {
            return Ok(Verdict::WAIT);
        }
        if self.activity.ends_after_this() {
            self.state = State::Over;
            return Ok(self.throw_away(bytes.len()));
        }
        // RFC 9112, section 2.2.
        let empty = bytes
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        if empty > 0 && self.seen == 0 {
            return Ok(Verdict {
                discard: empty,
                pass: 0,
            });
        }
        self.activity.head_begins();
        // A head that comes byte by byte is not read anew for each of them.
        let fresh = bytes.get(self.seen..).unwrap_or_default();
        if self.seen > 0 && !fresh.contains(&b'\n') && bytes.len() < MAX_HEAD {
            return Ok(Verdict::WAIT);
        }
        let Some(head) = head::read(bytes)? else {
            self.seen = bytes.len();
            return Ok(Verdict::WAIT);
        };
        self.seen = 0;
        self.state = match head.length {
            Length::Bytes(bytes) => State::Bytes(bytes),
            Length::Chunks => State::Chunks(Chunks::new()),
        };
        self.discarded = 0;
        let body = head.length != Length::Bytes(0);
        self.in_request = true;
        self.activity.head_passes(body, head.last);
        let rest = bytes.get(head.bytes..).unwrap_or_default();
        let pass = head.bytes + self.follow_body(rest);
        Ok(Verdict { discard: 0, pass })
    }
}

/// How many of `bytes` are within the next `rest`.
fn within(rest: u64, bytes: usize) -> usize {
    usize::try_from(rest).unwrap_or(bytes).min(bytes)
}
