//! The times at which requests are due.

use std::os::fd::OwnedFd;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// The source of the times at which requests are due.
#[derive(Clone)]
pub enum Arrivals {
    /// Immediately, until the end.
    Closed { end: Instant },
    /// At a rate. Due requests wait here until a connection is free.
    Open { due: Receiver<Instant> },
}

impl Arrivals {
    /// Starts an open loop with `rate` requests per second, or a closed loop without a rate. The times between
    /// requests are equal, or those of a Poisson process.
    pub fn start(rate: Option<f64>, poisson: bool, end: Instant) -> Self {
        let Some(rate) = rate else {
            return Self::Closed { end };
        };
        let (sender, due) = async_channel::unbounded();
        tokio::task::spawn_local(tick(rate, poisson, end, sender));
        Self::Open { due }
    }

    /// Waits until the next request is due and returns that time; `None` after the end.
    pub async fn next(&self) -> Option<Instant> {
        match self {
            Self::Closed { end } => Some(Instant::now()).filter(|now| now < end),
            Self::Open { due } => due.recv().await.ok(),
        }
    }

    /// The number of requests that are due and not sent.
    pub fn unsent(&self) -> usize {
        match self {
            Self::Closed { .. } => 0,
            Self::Open { due } => due.len(),
        }
    }
}

/// The timer fires at most this often: at high rates, a timer for each request would cost the machine as
/// much as the request. No request is sent early, and the latency of a late one counts from its due time.
const RESOLUTION: Duration = Duration::from_micros(100);

async fn tick(
    rate: f64,
    poisson: bool,
    end: Instant,
    sender: Sender<Instant>,
) -> std::io::Result<()> {
    let clock = Clock::new()?;
    let start = Instant::now();
    let mut n = 0.0;
    loop {
        let mut now = Instant::now();
        let mut due = start + Duration::from_secs_f64(n / rate);
        if due > now {
            clock.sleep_until(due.max(now + RESOLUTION)).await?;
            now = Instant::now();
        }
        while due <= now {
            if due >= end {
                return Ok(());
            }
            let _ = sender.try_send(due);
            // In a Poisson process, the times between arrivals have an exponential distribution.
            n += if poisson {
                -(1.0 - fastrand::f64()).ln()
            } else {
                1.0
            };
            due = start + Duration::from_secs_f64(n / rate);
        }
        tokio::task::yield_now().await;
    }
}

/// A timer of the kernel. Tokio's own has a resolution of a millisecond, and many responses are faster.
struct Clock(AsyncFd<OwnedFd>);

impl Clock {
    fn new() -> std::io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: the descriptor is owned, open, and stays the same until it is dropped.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE)? };
        Ok(Self(timer))
    }

    async fn sleep_until(&self, due: Instant) -> std::io::Result<()> {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: left.try_into().map_err(std::io::Error::other)?,
        };
        rustix::time::timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        let mut ready = self.0.readable().await?;
        // Setting the timer resets its count of expirations, so it need not be read.
        ready.clear_ready();
        Ok(())
    }
}
