//! Reads the SQLSTATE of errors, and the readiness of the server, from the messages that it sends.
//!
//! Diesel does not expose the SQLSTATE. A message has a type, a length and a body (PostgreSQL manual, "Message
//! Formats"). The parser skips a body by its length, and reads only the body of an error.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::store::postgres::sqlstate::SqlState;

/// The state that the messages of one connection reveal. Shared by the connection and its stream.
#[derive(Default)]
pub(super) struct ServerState {
    /// The five characters of the last SQLSTATE in the low bytes; 0 if there is none.
    code: AtomicU64,
    busy: AtomicBool,
}

impl ServerState {
    /// Forgets the last error.
    pub(super) fn clear_error(&self) {
        self.code.store(0, Ordering::Relaxed);
    }

    /// The SQLSTATE of the last error since [`Self::clear_error`].
    pub(super) fn sqlstate(&self) -> Option<SqlState> {
        let [_, _, _, code @ ..] = self.code.load(Ordering::Relaxed).to_be_bytes();
        (code != [0; 5]).then_some(SqlState(code))
    }

    /// Whether data was sent to the server and the server has not reported since that it is ready.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    pub(super) fn set_busy(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    fn set_sqlstate(&self, code: [u8; 5]) {
        let [a, b, c, d, e] = code;
        let code = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
        self.code.store(code, Ordering::Relaxed);
    }
}

/// The part of a message that the next byte belongs to.
enum Position {
    /// The type and the length of a message, of which `read` bytes have been read.
    Header { bytes: [u8; 5], read: usize },
    /// A body that is skipped, of which this many bytes are left.
    Body(usize),
    /// The body of an error, of which `left` bytes are left.
    Error { left: usize, field: ErrorField },
}

/// A field of an error: a type and a text that ends with a zero byte.
enum ErrorField {
    Type,
    Code { code: [u8; 5], read: usize },
    Other,
}

const HEADER: Position = Position::Header {
    bytes: [0; 5],
    read: 0,
};

/// A parser for messages, whose bytes may be split across reads at any point.
pub(super) struct MessageParser(Position);

impl MessageParser {
    /// Creates a parser that expects the start of a message.
    pub(super) fn new() -> Self {
        Self(HEADER)
    }

    /// Creates a parser that first skips one byte, the response to SSLRequest.
    pub(super) fn after_ssl_response() -> Self {
        Self(Position::Body(1))
    }

    pub(super) fn parse(&mut self, mut bytes: &[u8], state: &ServerState) {
        while let [first, rest @ ..] = bytes {
            match &mut self.0 {
                Position::Header {
                    bytes: header,
                    read,
                } => {
                    if let Some(byte) = header.get_mut(*read) {
                        *byte = *first;
                    }
                    *read += 1;
                    bytes = rest;
                    if *read == header.len() {
                        let [kind, length @ ..] = *header;
                        self.0 = after_header(kind, length, state);
                    }
                }
                Position::Body(left) => {
                    let skipped = bytes.len().min(*left);
                    bytes = bytes.get(skipped..).unwrap_or_default();
                    *left -= skipped;
                    if *left == 0 {
                        self.0 = HEADER;
                    }
                }
                Position::Error { left, field } => {
                    field.parse(*first, state);
                    bytes = rest;
                    *left -= 1;
                    if *left == 0 {
                        self.0 = HEADER;
                    }
                }
            }
        }
    }
}

fn after_header(kind: u8, length: [u8; 4], state: &ServerState) -> Position {
    // ReadyForQuery.
    if kind == b'Z' {
        state.busy.store(false, Ordering::Relaxed);
    }
    // The length includes itself.
    let body = u32::from_be_bytes(length).saturating_sub(4);
    match (kind, usize::try_from(body).unwrap_or(usize::MAX)) {
        (_, 0) => HEADER,
        // ErrorResponse.
        (b'E', left) => Position::Error {
            left,
            field: ErrorField::Type,
        },
        (_, left) => Position::Body(left),
    }
}

impl ErrorField {
    fn parse(&mut self, byte: u8, state: &ServerState) {
        match self {
            Self::Type if byte == b'C' => {
                *self = Self::Code {
                    code: [0; 5],
                    read: 0,
                }
            }
            // The end of the fields.
            Self::Type if byte == 0 => {}
            Self::Type => *self = Self::Other,
            Self::Code { code, .. } if byte == 0 => {
                state.set_sqlstate(*code);
                *self = Self::Type;
            }
            Self::Code { code, read } => {
                if let Some(character) = code.get_mut(*read) {
                    *character = byte;
                }
                *read += 1;
            }
            Self::Other if byte == 0 => *self = Self::Type,
            Self::Other => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    #[test]
    fn the_code_of_an_error_is_found_however_reads_split_it() {
        let stream = [
            message(b'D', &[b'E'; 300]),
            message(b'1', &[]),
            message(b'E', b"SFEHLER\0VERROR\0C40P01\0MVerklemmung entdeckt\0\0"),
            message(b'Z', b"I"),
            message(b'D', b"C57014\0"),
        ]
        .concat();
        for size in 1..stream.len() {
            let (mut parser, state) = (MessageParser::new(), ServerState::default());
            for read in stream.chunks(size) {
                parser.parse(read, &state);
            }
            assert_eq!(state.sqlstate(), Some(SqlState(*b"40P01")), "{size}");
        }
    }

    #[test]
    fn the_last_error_counts_until_it_is_cleared() {
        let state = ServerState::default();
        let mut parser = MessageParser::after_ssl_response();
        parser.parse(b"N", &state);
        assert_eq!(state.sqlstate(), None);
        for code in [b"57014", b"08P01"] {
            parser.parse(&message(b'E', &[b"C", &code[..], b"\0\0"].concat()), &state);
            assert_eq!(state.sqlstate(), Some(SqlState(*code)));
        }
        state.clear_error();
        assert_eq!(state.sqlstate(), None);
    }
}
