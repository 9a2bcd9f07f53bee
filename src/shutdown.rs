//! From a signal to the end: the drain state that the rest of the program looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::Notify;

/// Whether the service is about to end. Cheap to clone, to ask and to wait for: every connection does.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<State>);

#[derive(Debug, Default)]
struct State {
    draining: AtomicBool,
    begun: Notify,
}

impl Drain {
    /// Begins to drain. Doing so again changes nothing.
    pub fn start(&self) {
        self.0.draining.store(true, Ordering::Release);
        self.0.begun.notify_waiters();
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// Waits until draining begins.
    pub async fn started(&self) {
        // Made before the question, so that a beginning right after it is not missed.
        let begun = self.0.begun.notified();
        if !self.is_draining() {
            begun.await;
        }
    }
}

/// Lets SIGTERM and SIGINT start the drain; a second one ends the process at once with
/// 128 + its number, as shells count. SIGHUP is ignored.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn listen(drain: Drain) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                // Acts before it logs: whoever reads the log may be stuck.
                if signal == SIGHUP {
                    log::info!("SIGHUP is ignored");
                } else if drain.is_draining() {
                    signal_hook::low_level::exit(128 + signal);
                } else {
                    drain.start();
                    log::info!(signal; "draining");
                }
            }
        })?;
    Ok(())
}

/// Lets SIGTERM and SIGINT end the process at once with 128 + their number. As process 1 of a
/// container, a process without a handler ignores them.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn end_at_once() -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                signal_hook::low_level::exit(128 + signal);
            }
        })?;
    Ok(())
}
