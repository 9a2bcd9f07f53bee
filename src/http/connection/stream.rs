//! The connection as the stream that Actix reads and writes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Connection;

/// The maximum number of reads in one poll, so that a client that never stops sending does not block other
/// connections.
const MAX_READS: usize = 16;

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if std::mem::take(&mut this.paused) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        for _ in 0..MAX_READS {
            if this.inbound.forward(buf) {
                return this.forwarded();
            }
            if this.inbound.has_ended() {
                return Poll::Ready(Ok(()));
            }
            if this.inbound.waits_for_handler() {
                this.activity.wait_for_handler(cx.waker());
            } else if !this.ended && this.inbound.has_capacity() {
                match Pin::new(&mut this.stream).poll_read(cx, buf) {
                    Poll::Ready(Ok(())) if buf.filled().len() > before => {
                        this.slot.mark_busy();
                        this.inbound.received(buf, before);
                        if buf.filled().len() > before {
                            return this.forwarded();
                        }
                        continue;
                    }
                    Poll::Ready(Ok(())) => {
                        this.ended = true;
                        this.activity.client_closed();
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            // Pipelined requests are served although their client has closed its side.
            if this.ended && (this.inbound.is_empty() || !this.inbound.in_request()) {
                return Poll::Ready(Ok(()));
            }
            if this.is_idle() {
                this.slot.mark_idle(this.activity.idle_since(), cx.waker());
                if this.slot.is_evicted() {
                    return Poll::Ready(Ok(()));
                }
            }
            ready!(this.poll_timeout(cx));
            if this.activity.head_since().is_some() && !this.slot.is_overflow() {
                this.inbound.reject_slow_head();
                continue;
            }
            if this.inbound.discards() {
                return Poll::Ready(Ok(()));
            }
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.update_reset();
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note_sent(result, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.update_reset();
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note_sent(result, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Actix flushes when the socket has accepted everything.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.inbound.written() {
            // The socket accepted the last bytes then, so the clock need not be read again.
            self.response_ended(self.activity.idle_since());
            if self.inbound.is_empty() {
                self.slot.mark_idle(self.activity.idle_since(), cx.waker());
            }
            // A request may already be waiting, and nothing else would make Actix read. The same applies to the
            // timeout for the rest of a body, which starts now, while the timer is set to a later time.
            if !self.inbound.is_empty() || self.inbound.discards() || self.slot.is_evicted() {
                cx.waker().wake_by_ref();
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Actix calls this more than once, but only the first call shuts the socket down. The shutdown fails,
        // harmlessly, if the connection is already closed.
        if self.lingers_until.is_none() {
            self.activity.written();
            self.response_ended(self.activity.idle_since());
            self.update_reset();
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        self.poll_linger(cx).map(Ok)
    }
}
