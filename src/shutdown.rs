//! Signals, which start the drain or end the process.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio_util::sync::CancellationToken;

/// Makes SIGTERM and SIGINT start the drain. A second signal ends the process at once with the exit code 128 + its
/// number, as in shells. SIGHUP is ignored.
pub(crate) fn listen(drain: CancellationToken) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                // Acts before logging, which must not delay the drain.
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

/// Makes SIGTERM and SIGINT end the process at once with the exit code 128 + their number. Without a handler,
/// process 1 of a container ignores them.
pub(crate) fn exit_on_signal() -> std::io::Result<()> {
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
