//! The socket below a connection.
//!
//! tokio-postgres drops its stream when its client is gone, although the server may still execute a statement.
//! This socket then sends its stream to a receiver, which reads it to its end: only the server ends it, or the
//! kernel if the peer is dead.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;

use super::slots::Address;
use crate::store::postgres::url::{Keepalive, SocketOptions};

/// A connection that was given up has often been silent for a long time, so a dead peer is detected after a few
/// seconds.
const CLOSING: SocketOptions = SocketOptions {
    keepalive: Some(Keepalive {
        idle: Duration::from_secs(1),
        interval: Duration::from_secs(1),
        count: 3,
    }),
    user_timeout: Some(Duration::from_secs(4)),
};

/// An open stream socket of either family.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    async fn connect(address: &Address, options: &SocketOptions) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let stream = Self::Tcp(stream);
                stream.set_options(options)?;
                Ok(stream)
            }
            Address::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
        }
    }

    fn set_options(&self, options: &SocketOptions) -> io::Result<()> {
        let Self::Tcp(stream) = self else {
            return Ok(());
        };
        let socket = SockRef::from(stream);
        if let Some(keepalive) = &options.keepalive {
            socket.set_tcp_keepalive(
                &TcpKeepalive::new()
                    .with_time(keepalive.idle)
                    .with_interval(keepalive.interval)
                    .with_retries(keepalive.count),
            )?;
        }
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(options.user_timeout)?;
        Ok(())
    }

    /// Closes the sending side, and waits until the server has closed its side as well or the kernel
    /// reports that the peer is dead.
    pub(super) async fn close(mut self) {
        // Both fail on a dead connection, and the read then fails as well.
        let _ = self.set_options(&CLOSING);
        let _ = self.shutdown().await;
        let mut unread = [0; 4096];
        while matches!(self.read(&mut unread).await, Ok(1..)) {}
    }
}

/// A socket that sends its stream to a receiver when it is dropped.
pub(super) struct Socket {
    /// `None` only during the drop.
    stream: Option<Stream>,
    dropped: Option<oneshot::Sender<Stream>>,
}

impl Socket {
    /// Opens a socket. The receiver gets the stream when the socket is dropped.
    pub(super) async fn connect(
        address: &Address,
        options: &SocketOptions,
    ) -> io::Result<(Self, oneshot::Receiver<Stream>)> {
        let (dropped, returned) = oneshot::channel();
        let socket = Self {
            stream: Some(Stream::connect(address, options).await?),
            dropped: Some(dropped),
        };
        Ok((socket, returned))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let (Some(stream), Some(dropped)) = (self.stream.take(), self.dropped.take()) {
            let _ = dropped.send(stream);
        }
    }
}

/// Calls a method of the stream in either variant.
macro_rules! delegate {
    ($socket:expr, $method:ident($($argument:expr),*)) => {
        match &mut $socket {
            Stream::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(*self, poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(*self, poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(*self, poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(*self, poll_shutdown(cx))
    }
}

impl Socket {
    fn stream(self: Pin<&mut Self>) -> io::Result<Pin<&mut Stream>> {
        let stream = self.get_mut().stream.as_mut();
        stream
            .map(Pin::new)
            .ok_or(io::ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}
