//! From a signal to the end: the drain state that the rest of the program looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

/// Whether the service is about to end. Cheap to clone and to ask.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Asked for every answer, so without a lock.
    draining: Arc<AtomicBool>,
    started: watch::Sender<bool>,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            draining: Arc::default(),
            started: watch::Sender::new(false),
        }
    }
}

impl Drain {
    /// Begins to drain. Doing so again changes nothing.
    pub fn start(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.started.send_replace(true);
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Waits until draining begins.
    pub async fn started(&self) {
        // Only fails when the sender is gone, and it is in `self`.
        let _ = self.started.subscribe().wait_for(|started| *started).await;
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
