//! Signals: what starts the drain, and what ends the process.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio_util::sync::CancellationToken;

/// Lets SIGTERM and SIGINT start the drain; a second one ends the process at once with
/// 128 + its number, as shells count. SIGHUP is ignored.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn listen(drain: CancellationToken) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                // Acts before it logs: whoever reads the log may be stuck.
                if signal == SIGHUP {
                    log::info!("SIGHUP is ignored");
                } else if drain.is_cancelled() {
                    signal_hook::low_level::exit(128 + signal);
                } else {
                    drain.cancel();
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
