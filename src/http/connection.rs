//! A connection of a client, below Actix.
//!
//! Actix bounds the time of a connection's first head only. Here every head has the time of a request
//! from its first byte on, and a response whose client takes nothing of it is cut off. What a client
//! sends goes through [`Inbound`], and a connection ends so that the client sees its last response.

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

use crate::http::{Activity, Missing};
use inbound::{Inbound, MAX_DISCARDED};
use slots::Slot;

mod chunks;
mod fields;
pub(crate) mod head;
mod inbound;
pub(crate) mod slots;
mod stream;

/// How many connections one server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// Connections that are served.
    pub(crate) served: usize,
    /// Connections beyond them, which get one request each.
    pub(crate) overflow: usize,
}

impl ConnectionLimits {
    /// The most connections that may be open at a time, with those that close for others.
    pub(crate) fn open_at_once(self) -> usize {
        self.served.saturating_add(self.overflow.saturating_mul(3))
    }
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientTimeouts {
    /// For the head of a request, from its first byte on.
    pub(crate) head: Duration,
    /// Between two requests.
    pub(crate) idle: Duration,
    /// For taking a part of a response.
    pub(crate) stuck: Duration,
    /// For the rest of a request after its response.
    pub(crate) linger: Duration,
    /// For everything, on a connection beyond `MAX_CONNECTIONS`.
    pub(crate) overflow: Duration,
}

/// After a last response with nothing missing of its request, the client has so long to close first.
/// Longer only costs descriptors, and a reset after it would hit a response that was received.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection of a client.
pub(crate) struct Connection {
    stream: TcpStream,
    activity: Rc<Activity>,
    inbound: Inbound,
    timeouts: ClientTimeouts,
    timer: Pin<Box<Sleep>>,
    opened: Instant,
    /// A part of a body was handed over, and Actix has to pass it on before it gets the next.
    paused: bool,
    /// The client sends nothing more.
    ended: bool,
    /// Since when the socket has taken nothing of a response that waits.
    stuck_since: Option<Instant>,
    /// When the connection stops reading after its last response.
    lingers_until: Option<Instant>,
    /// Bytes that came after it.
    lingered: u64,
    slot: Slot,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, timeouts: ClientTimeouts, slot: Slot) -> Self {
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
            slot,
        }
    }

    /// What the edge and the connection tell each other.
    pub(crate) fn activity(&self) -> Rc<Activity> {
        Rc::clone(&self.activity)
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Bytes were handed to Actix. It would read on until nothing is left and keep that in a buffer of
    /// its own, beside the body that the handler has. So it gets one part of a body in each round.
    fn handed_over(&mut self) -> Poll<io::Result<()>> {
        self.paused = self.inbound.in_body();
        Poll::Ready(Ok(()))
    }

    /// Nothing is asked and nothing is being answered.
    fn is_idle(&self) -> bool {
        !self.inbound.in_request() && self.inbound.is_empty()
    }

    /// Ready when the time of `deadline` is over. It may move on with every request: the timer
    /// follows when it rings, so that a request costs no change in the timers of the worker.
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

    /// Ready when the client was too slow.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = if self.activity.is_busy() {
            // A request that is being answered has a deadline of its own. Nobody looks here at its
            // end, so the timer has to go on.
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

    /// The socket has taken so much, or nothing.
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
                // Reading shares the timer and may have heard it ring.
                if Instant::now() < deadline {
                    ready!(self.poll_timer(deadline, cx));
                }
                // What the kernel still has of the response goes with the connection.
                let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Reads what comes after the last response and throws it away, until the client has closed its
    /// side or was given its chance (RFC 9112, section 9.6). Closing earlier would make the kernel
    /// reset the connection, and the client might never see the response.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = *self.lingers_until.get_or_insert_with(|| {
            let missing = self.activity.missing() != Missing::Nothing;
            let now = Instant::now();
            if missing {
                now + self.timeouts.linger
            } else if self.activity.ends_after_this() || !self.inbound.is_empty() {
                now + self.timeouts.linger.min(FAREWELL)
            } else {
                now
            }
        });
        let mut room = [const { MaybeUninit::uninit() }; 16 * 1024];
        while self.lingered < MAX_DISCARDED && Instant::now() < until {
            let mut buf = ReadBuf::uninit(&mut room);
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

#[cfg(test)]
mod tests;
