//! A stream that passes the bytes from the server to a [`MessageParser`], below or above TLS.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::messages::{MessageParser, ServerState};
use super::socket::Socket;

/// A stream whose incoming messages are parsed.
pub(super) struct ObservedStream<S> {
    inner: S,
    state: Arc<ServerState>,
    parser: MessageParser,
}

impl<S> ObservedStream<S> {
    pub(super) fn new(inner: S, state: Arc<ServerState>, parser: MessageParser) -> Self {
        Self {
            inner,
            state,
            parser,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ObservedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let this = &mut *self;
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        this.parser.parse(new, &this.state);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ObservedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.state.set_busy();
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A TLS stream on a [`Socket`].
pub(super) type TlsSocket = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
/// A TLS handshake on a [`Socket`].
pub(super) type TlsHandshake = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;

/// A TLS handshake after which the decrypted messages are observed, above TLS.
pub(super) struct ObservedTlsHandshake(pub(super) TlsHandshake);

impl TlsConnect<ObservedStream<Socket>> for ObservedTlsHandshake {
    type Stream = ObservedStream<TlsSocket>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Stream>> + Send>>;

    fn connect(self, stream: ObservedStream<Socket>) -> Self::Future {
        let ObservedStream { inner, state, .. } = stream;
        let handshake = self.0.connect(inner);
        Box::pin(async move {
            let stream = handshake.await?;
            Ok(ObservedStream::new(stream, state, MessageParser::new()))
        })
    }
}

impl TlsStream for ObservedStream<TlsSocket> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}
