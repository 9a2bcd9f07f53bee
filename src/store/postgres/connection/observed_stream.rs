//! Reads along what the server sends, for the SQLSTATE of an error, which Diesel does not hand on.
//!
//! Messages are a type, a length and a body (PostgreSQL manual, "Message Formats"). Bodies are
//! passed over by their length; only that of an error is looked into.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::sqlstate::SqlState;
use super::socket::Socket;

/// What is known of one connection from its bytes. Shared by the connection and its stream.
#[derive(Default)]
pub(crate) struct Tap {
    /// The SQLSTATE of the last error, with zeros before it; 0 is none.
    code: AtomicU64,
    busy: AtomicBool,
}

impl Tap {
    /// Forgets the last error.
    pub(crate) fn clear(&self) {
        self.code.store(0, Ordering::Relaxed);
    }

    /// The SQLSTATE of the last error since [`Self::clear`].
    pub(crate) fn sqlstate(&self) -> Option<SqlState> {
        let [_, _, _, code @ ..] = self.code.load(Ordering::Relaxed).to_be_bytes();
        (code != [0; 5]).then_some(SqlState(code))
    }

    /// Whether the server was sent something and has not said since that it is ready.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    fn set(&self, code: [u8; 5]) {
        let [a, b, c, d, e] = code;
        let code = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
        self.code.store(code, Ordering::Relaxed);
    }
}

/// Where in the stream of messages the next byte stands.
enum Place {
    /// In the type and the length of a message, of which this much was read.
    Head { head: [u8; 5], read: usize },
    /// This far before the end of a body that nobody wants.
    Body(usize),
    /// In an error.
    Error { left: usize, field: Field },
}

/// Where in the fields of an error: each is a type and a text that ends with a zero byte.
enum Field {
    Type,
    Code { code: [u8; 5], read: usize },
    Other,
}

const HEAD: Place = Place::Head {
    head: [0; 5],
    read: 0,
};

/// A reader of messages, wherever the reads split them.
struct Messages(Place);

impl Messages {
    fn read(&mut self, mut bytes: &[u8], tap: &Tap) {
        while let [first, rest @ ..] = bytes {
            match &mut self.0 {
                Place::Head { head, read } => {
                    if let Some(place) = head.get_mut(*read) {
                        *place = *first;
                    }
                    *read += 1;
                    bytes = rest;
                    if *read == head.len() {
                        let [kind, length @ ..] = *head;
                        self.0 = after(kind, length, tap);
                    }
                }
                Place::Body(left) => {
                    let passed = bytes.len().min(*left);
                    bytes = bytes.get(passed..).unwrap_or_default();
                    *left -= passed;
                    if *left == 0 {
                        self.0 = HEAD;
                    }
                }
                Place::Error { left, field } => {
                    field.read(*first, tap);
                    bytes = rest;
                    *left -= 1;
                    if *left == 0 {
                        self.0 = HEAD;
                    }
                }
            }
        }
    }
}

/// Where the next byte stands after the type and the length of a message.
fn after(kind: u8, length: [u8; 4], tap: &Tap) -> Place {
    if kind == b'Z' {
        tap.busy.store(false, Ordering::Relaxed);
    }
    // The length counts itself.
    let body = u32::from_be_bytes(length).saturating_sub(4);
    match (kind, usize::try_from(body).unwrap_or(usize::MAX)) {
        (_, 0) => HEAD,
        (b'E', left) => Place::Error {
            left,
            field: Field::Type,
        },
        (_, left) => Place::Body(left),
    }
}

impl Field {
    fn read(&mut self, byte: u8, tap: &Tap) {
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
                tap.set(*code);
                *self = Self::Type;
            }
            Self::Code { code, read } => {
                if let Some(place) = code.get_mut(*read) {
                    *place = byte;
                }
                *read += 1;
            }
            Self::Other if byte == 0 => *self = Self::Type,
            Self::Other => {}
        }
    }
}

/// A stream whose incoming messages are read along.
pub(crate) struct Tapped<S> {
    stream: S,
    tap: Arc<Tap>,
    messages: Messages,
}

impl<S> Tapped<S> {
    /// Reads messages from the first byte on, or from the second when the first answers the question
    /// whether the server has TLS.
    pub(crate) fn new(stream: S, tap: Arc<Tap>, asks_for_tls: bool) -> Self {
        Self {
            stream,
            tap,
            messages: Messages(if asks_for_tls { Place::Body(1) } else { HEAD }),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let this = &mut *self;
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        this.messages.read(new, &this.tap);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.tap.busy.store(true, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// TLS over our socket.
pub(crate) type TlsSocket = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
/// What makes it.
pub(crate) type TlsHandshake = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;

/// Reads along what comes out of TLS, instead of what goes in.
pub(crate) struct TappedTls {
    pub(crate) handshake: TlsHandshake,
}

impl TlsConnect<Tapped<Socket>> for TappedTls {
    type Stream = Tapped<TlsSocket>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Stream>> + Send>>;

    fn connect(self, stream: Tapped<Socket>) -> Self::Future {
        let Tapped { stream, tap, .. } = stream;
        let handshake = self.handshake.connect(stream);
        Box::pin(async move { Ok(Tapped::new(handshake.await?, tap, false)) })
    }
}

impl TlsStream for Tapped<TlsSocket> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    fn read(stream: &[u8], piece: usize, messages: &mut Messages) -> Option<String> {
        let tap = Tap::default();
        for piece in stream.chunks(piece) {
            messages.read(piece, &tap);
        }
        tap.sqlstate().map(|code| code.to_string())
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
        for piece in 1..stream.len() {
            let found = read(&stream, piece, &mut Messages(HEAD));
            assert_eq!(found.as_deref(), Some("40P01"), "{piece}");
        }
    }

    #[test]
    fn the_last_error_counts_and_is_forgotten_when_cleared() {
        let tap = Tap::default();
        let mut messages = Messages(Place::Body(1));
        messages.read(b"N", &tap);
        assert_eq!(tap.sqlstate(), None);
        for code in ["57014", "08P01"] {
            messages.read(&message(b'E', format!("C{code}\0\0").as_bytes()), &tap);
            assert_eq!(tap.sqlstate().unwrap().to_string(), code);
        }
        tap.clear();
        assert_eq!(tap.sqlstate(), None);
    }
}
