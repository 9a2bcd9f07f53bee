//! A connection of a client, below Actix.
//!
//! Actix has a timeout only for the first head of a connection. Here every head must be complete within the
//! request timeout from its first byte on, and a response is aborted if the client reads none of it. The bytes
//! from a client go through [`Inbound`], and a connection closes in a way that lets the client receive its last
//! response.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_rt::net::TcpStream;
use socket2::SockRef;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::http::activity::{Activity, Unreceived};
use inbound::{Inbound, MAX_DISCARDED};
use slots::Slot;

mod chunks;
mod fields;
pub(crate) mod head;
mod inbound;
pub(crate) mod slots;
mod stream;

/// The maximum numbers of connections of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// Connections that are served.
    pub(crate) served: usize,
    /// Connections above that number, which get one request each.
    pub(crate) overflow: usize,
}

impl ConnectionLimits {
    /// The maximum number of connections that may be open at the same time, including those that are closing for
    /// new ones.
    pub(crate) fn open_at_once(self) -> usize {
        self.served.saturating_add(self.overflow.saturating_mul(3))
    }
}

/// The timeouts for actions of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientTimeouts {
    /// For the head of a request, from its first byte.
    pub(crate) head: Duration,
    /// Between two requests.
    pub(crate) idle: Duration,
    /// Until the client reads a part of a response.
    pub(crate) stuck: Duration,
    /// For the rest of a request after its response.
    pub(crate) linger: Duration,
    /// For the whole lifetime of a connection beyond `MAX_CONNECTIONS`.
    pub(crate) overflow: Duration,
}

/// How long the client has to close first, after a last response whose request was complete. A longer time only
/// costs descriptors, and a later reset does no harm because the response has been received.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection of a client.
pub(crate) struct Connection {
    stream: TcpStream,
    activity: Rc<Activity>,
    inbound: Inbound,
    timeouts: Rc<ClientTimeouts>,
    timer: Pin<Box<Sleep>>,
    opened: Instant,
    /// Actix got a part of a body and must process it before it gets the next part.
    paused: bool,
    /// The client has closed its side.
    ended: bool,
    /// Since when the socket has accepted nothing of a response.
    stuck_since: Option<Instant>,
    /// When the connection stops reading after its last response.
    lingers_until: Option<Instant>,
    /// Bytes received after the last response.
    lingered: u64,
    /// The kernel resets the connection when it is closed.
    resets: bool,
    slot: Slot,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, timeouts: Rc<ClientTimeouts>, slot: Slot) -> Self {
        let activity: Rc<Activity> = Rc::default();
        let opened = Instant::now();
        let first = if slot.is_overflow() {
            activity.set_overflow();
            timeouts.overflow
        } else {
            timeouts.idle
        };
        Self {
            stream,
            inbound: Inbound::new(Rc::clone(&activity)),
            activity,
            timeouts,
            timer: Box::pin(sleep_until(opened + first)),
            opened,
            paused: false,
            ended: false,
            stuck_since: None,
            lingers_until: None,
            lingered: 0,
            resets: false,
            slot,
        }
    }

    pub(crate) fn activity(&self) -> Rc<Activity> {
        Rc::clone(&self.activity)
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Actix got bytes. It would continue to read until nothing is left and keep the bytes in its own buffer, in
    /// addition to the body that the handler has. So it gets one part of a body for each poll.
    fn forwarded(&mut self) -> Poll<io::Result<()>> {
        self.paused = self.inbound.in_body();
        Poll::Ready(Ok(()))
    }

    /// Whether no request is in progress and no byte of the next one has arrived.
    fn is_idle(&self) -> bool {
        !self.inbound.in_request() && self.inbound.is_empty()
    }

    /// Ready after `deadline`, which may move with every request. The timer is set again only when it expires, so
    /// that a request does not change a timer of the worker.
    fn poll_timer(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = if self.slot.is_overflow() {
            deadline.min(self.opened + self.timeouts.overflow)
        } else {
            deadline
        };
        loop {
            if deadline < self.timer.deadline() {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(cx));
            if self.timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }

    /// Ready when the client exceeds a timeout.
    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = if self.activity.is_busy() {
            // A request in progress has a deadline of its own. Its end does not poll this future, so the timer
            // must keep running.
            Instant::now() + self.timeouts.idle
        } else if let Some(began) = self.activity.head_since() {
            began + self.timeouts.head
        } else if self.inbound.discards() {
            self.activity.idle_since() + self.timeouts.linger
        } else {
            self.activity.idle_since() + self.timeouts.idle
        };
        self.poll_timer(deadline, cx)
    }

    /// Makes the kernel end the connection with a reset as long as a response is incomplete whose end is the end of the
    /// connection (HTTP/1.0). The kernel has the option from the first byte of the response on, so a process that is
    /// killed resets the connection as well.
    fn update_reset(&mut self) {
        let incomplete = self.activity.is_incomplete();
        if self.resets != incomplete {
            self.resets = incomplete;
            let linger = incomplete.then_some(Duration::ZERO);
            if let Err(error) = SockRef::from(&self.stream).set_linger(linger) {
                log::debug!(error:%; "cannot set a socket option");
            }
        }
    }

    /// Records how much the socket has accepted, and fails if it accepts nothing for too long.
    fn note_sent(
        &mut self,
        result: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(bytes)) => {
                if bytes > 0 {
                    self.stuck_since = None;
                    self.activity.sent();
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let since = *self.stuck_since.get_or_insert_with(Instant::now);
                let deadline = since + self.timeouts.stuck;
                // Reading shares the timer and may have consumed its expiry.
                if Instant::now() < deadline {
                    ready!(self.poll_timer(deadline, cx));
                }
                // Discards the part of the response that the kernel still holds.
                let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Records that the response has been sent, until this time.
    fn response_ended(&self, end: Instant) {
        if let Some(since) = self.activity.take_response_since()
            && let Some(metrics) = self.slot.metrics()
        {
            metrics.response_written(end.saturating_duration_since(since));
        }
    }

    /// Reads and discards the bytes that arrive after the last response, until the client closes its side or a
    /// timeout expires (RFC 9112, section 9.6). If the server closed earlier, the kernel would reset the
    /// connection, and the client might never receive the response.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = *self.lingers_until.get_or_insert_with(|| {
            let incomplete = self.activity.unreceived() != Unreceived::Nothing;
            let now = Instant::now();
            if incomplete {
                now + self.timeouts.linger
            } else if self.activity.closes_after_response() || !self.inbound.is_empty() {
                now + self.timeouts.linger.min(CLOSE_TIMEOUT)
            } else {
                now
            }
        });
        let mut buffer = [const { MaybeUninit::uninit() }; 16 * 1024];
        while self.lingered < MAX_DISCARDED && Instant::now() < until {
            let mut buf = ReadBuf::uninit(&mut buffer);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.lingered += u64::try_from(buf.filled().len()).unwrap_or(0);
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.poll_timer(until, cx),
            }
        }
        Poll::Ready(())
    }
}

/// A response that is not sent completely counts until its connection ends. Otherwise the metrics would not show the
/// slowest clients, whose responses are aborted.
impl Drop for Connection {
    fn drop(&mut self) {
        self.response_ended(Instant::now());
    }
}

#[cfg(test)]
mod tests;
