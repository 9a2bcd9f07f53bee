//! The record of refused credentials, at a bounded rate: strangers cause these lines.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lines within [`WINDOW`].
const MAX_LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);

/// Writes lines under the target `order_service::audit`.
#[derive(Debug, Default)]
pub(super) struct Audit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Audit {
    /// Records that a credential was refused. Neither the credential nor a part of it is written.
    pub(super) fn refused(&self, reason: &dyn std::fmt::Display, peer: &str, request_id: &str) {
        let Some(left_out) = self.permit(Instant::now()) else {
            return;
        };
        log::warn!(
            target: "order_service::audit",
            reason:%, peer, request_id, left_out;
            "credential refused"
        );
    }

    /// The number of lines that were left out since the last one, if another may be written.
    fn permit(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        if state.began.is_none_or(|began| now - began >= WINDOW) {
            state.began = Some(now);
            state.lines = 0;
        }
        if state.lines == MAX_LINES {
            state.left_out += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_lines_out_and_counts_them() {
        let (audit, start) = (Audit::default(), Instant::now());
        let written = (0..100).filter(|_| audit.permit(start).is_some()).count();
        assert_eq!(written, 20);
        assert_eq!(audit.permit(start + WINDOW), Some(80));
        assert_eq!(audit.permit(start + WINDOW), Some(0));
    }
}
