//! Parses bytes from a client, and decides which of them go to Actix, are discarded, or wait.

use crate::http::activity::Unreceived;
use crate::http::connection::chunks::Decoder;
use crate::http::connection::fields::Length;
use crate::http::connection::head::{self, MAX_HEAD, Rejection};
use crate::http::connection::inbound::{Inbound, State};

/// How to process bytes, from the first one on. The bytes after `discard` and `forward` have to wait.
pub(crate) struct Parsed {
    pub(crate) discard: usize,
    pub(crate) forward: usize,
}

impl Parsed {
    const WAIT: Self = Self {
        discard: 0,
        forward: 0,
    };
}

impl Inbound {
    pub(crate) fn parse(&mut self, bytes: &mut [u8]) -> Result<Parsed, Box<Rejection>> {
        match &mut self.state {
            State::Finished | State::Malformed => Ok(self.discard(bytes.len())),
            State::Abandoned(rest) => {
                let here = within(*rest, bytes.len());
                *rest -= u64::try_from(here).unwrap_or(0);
                if *rest == 0 {
                    self.state = State::Head;
                }
                Ok(self.discard(here))
            }
            State::Chunks(_) => Ok(Parsed {
                discard: self.parse_chunks(bytes),
                forward: 0,
            }),
            State::Bytes(_) => Ok(Parsed {
                discard: 0,
                forward: self.parse_body(bytes),
            }),
            State::Head => self.parse_head(bytes),
        }
    }

    fn discard(&mut self, bytes: usize) -> Parsed {
        self.discarded += u64::try_from(bytes).unwrap_or(0);
        Parsed {
            discard: bytes,
            forward: 0,
        }
    }

    /// Returns how many of the bytes belong to a chunked body. Their data is encoded again for Actix.
    fn parse_chunks(&mut self, bytes: &[u8]) -> usize {
        let State::Chunks(decoder) = &mut self.state else {
            return 0;
        };
        let before = self.chunks.len();
        let Ok(here) = decoder.recode(bytes, &mut self.chunks) else {
            self.chunks.truncate(before);
            self.state = State::Malformed;
            self.activity.fail_body();
            return bytes.len();
        };
        let unreceived = if decoder.is_complete() {
            Unreceived::Nothing
        } else {
            Unreceived::Chunks
        };
        self.body_received(here, unreceived);
        here
    }

    /// Returns how many of the bytes belong to a body with a length.
    fn parse_body(&mut self, bytes: &[u8]) -> usize {
        let (forward, unreceived) = match &mut self.state {
            State::Bytes(rest) => {
                let here = within(*rest, bytes.len());
                *rest -= u64::try_from(here).unwrap_or(0);
                let unreceived = match *rest {
                    0 => Unreceived::Nothing,
                    rest => Unreceived::Bytes(rest),
                };
                (here, unreceived)
            }
            // Chunks are forwarded after they have been encoded again.
            State::Chunks(_) => (0, Unreceived::Chunks),
            _ => (0, Unreceived::Nothing),
        };
        self.body_received(forward, unreceived);
        forward
    }

    fn body_received(&mut self, bytes: usize, unreceived: Unreceived) {
        self.activity.set_unreceived(unreceived);
        if self.activity.body_is_abandoned() {
            self.discarded += u64::try_from(bytes).unwrap_or(0);
        }
        if unreceived == Unreceived::Nothing {
            self.state = if self.activity.closes_after_response() {
                State::Finished
            } else {
                State::Head
            };
        }
    }

    fn parse_head(&mut self, bytes: &mut [u8]) -> Result<Parsed, Box<Rejection>> {
        if self.in_request {
            return Ok(Parsed::WAIT);
        }
        if self.activity.closes_after_response() {
            self.state = State::Finished;
            return Ok(self.discard(bytes.len()));
        }
        // Empty lines before a request are ignored (RFC 9112, section 2.2).
        let empty = bytes
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        if empty > 0 && self.parsed == 0 {
            return Ok(Parsed {
                discard: empty,
                forward: 0,
            });
        }
        self.activity.head_started();
        // A head that arrives byte by byte is not parsed again for each byte.
        let fresh = bytes.get(self.parsed..).unwrap_or_default();
        if self.parsed > 0 && !fresh.contains(&b'\n') && bytes.len() < MAX_HEAD {
            return Ok(Parsed::WAIT);
        }
        let Some(head) = head::read(bytes)? else {
            self.parsed = bytes.len();
            return Ok(Parsed::WAIT);
        };
        self.parsed = 0;
        self.state = match head.length {
            Length::Bytes(bytes) => State::Bytes(bytes),
            Length::Chunks => State::Chunks(Decoder::new()),
        };
        self.discarded = 0;
        let body = head.length != Length::Bytes(0);
        self.in_request = true;
        self.activity.head_forwarded(body, head.last);
        let rest = bytes.get(head.bytes..).unwrap_or_default();
        Ok(Parsed {
            discard: 0,
            forward: head.bytes + self.parse_body(rest),
        })
    }
}

/// Returns how many of `bytes` are among the next `rest`.
fn within(rest: u64, bytes: usize) -> usize {
    usize::try_from(rest).unwrap_or(bytes).min(bytes)
}
