//! From a signal to the end: the drain state that the rest of the program looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::Notify;

/// Whether the service is about to end. Cheap to clone and to ask.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<State>);

#[derive(Debug, Default)]
struct State {
    draining: AtomicBool,
    started: Notify,
}

impl Drain {
    /// Begins to drain. Doing so again changes nothing.
    pub fn start(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        // `notify_one` keeps its permit when nobody waits yet.
        self.0.started.notify_one();
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// Waits until draining begins. For one waiter.
    pub async fn started(&self) {
        while !self.is_draining() {
            self.0.started.notified().await;
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
                if signal == SIGHUP {
                    log::info!("SIGHUP is ignored");
                } else if drain.is_draining() {
                    log::warn!(signal; "second signal: ending at once");
                    signal_hook::low_level::exit(128 + signal);
                } else {
                    log::info!(signal; "draining");
                    drain.start();
                }
            }
        })?;
    Ok(())
}
