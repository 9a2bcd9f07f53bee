//! The socket below a connection.
//!
//! tokio-postgres drops its stream when it is done with it, and with the stream the last sign of the
//! connection, although the server may still be at work on it. This one comes back to us then, and
//! is read to its end: only the server, or the kernel when the peer is dead, ends it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;

use super::super::url::{Keepalive, SocketOptions};
use super::slots::Address;

/// A connection that is given up has been silent for long already.
const CLOSING: SocketOptions = SocketOptions {
    keepalive: Some(Keepalive {
        idle: Duration::from_secs(1),
        interval: Duration::from_secs(1),
        count: 3,
    }),
    user_timeout: Some(Duration::from_secs(4)),
};

/// An open socket of either family.
pub(crate) enum Stream {
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
                stream.set(options)?;
                Ok(stream)
            }
            Address::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
        }
    }

    fn set(&self, options: &SocketOptions) -> io::Result<()> {
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

    /// Tells the server that nothing more comes, and waits until it has closed its side as well or
    /// the kernel reports that it is dead.
    pub(crate) async fn close(mut self) {
        // Each may fail on a connection that is dead already, which the read then says.
        let _ = self.set(&CLOSING);
        let _ = self.shutdown().await;
        let mut unread = [0; 4096];
        while matches!(self.read(&mut unread).await, Ok(1..)) {}
    }
}

/// A socket that comes back when it is dropped.
pub(crate) struct Socket {
    /// None only while it is dropped.
    stream: Option<Stream>,
    back: Option<oneshot::Sender<Stream>>,
}

impl Socket {
    /// Opens a socket. What is returned with it gets the stream when the socket is dropped.
    pub(crate) async fn connect(
        address: &Address,
        options: &SocketOptions,
    ) -> io::Result<(Self, oneshot::Receiver<Stream>)> {
        let (back, returned) = oneshot::channel();
        let socket = Self {
            stream: Some(Stream::connect(address, options).await?),
            back: Some(back),
        };
        Ok((socket, returned))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            let _ = back.send(stream);
        }
    }
}

/// Calls the same method on whichever stream it is.
macro_rules! on {
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
        on!(*self, poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on!(*self, poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(*self, poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(*self, poll_shutdown(cx))
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
