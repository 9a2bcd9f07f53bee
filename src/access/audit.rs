//! The record of rejected credentials. Its rate is bounded, because clients without credentials cause its lines.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Rejected, Scope};
use crate::domain::Caller;

/// The maximum number of lines in each [`WINDOW`].
const MAX_LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);
const TARGET: &str = "order_service::audit";

/// Writes lines under the target `order_service::audit`. No line contains a credential or a part of one.
#[derive(Debug, Default)]
pub(super) struct Audit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Audit {
    /// Records that a credential was rejected.
    pub(super) fn rejected(&self, reason: Rejected, peer: &str, request_id: &str) {
        if let Some(left_out) = self.permit(Instant::now()) {
            log::warn!(
                target: TARGET,
                reason:%, peer, request_id, left_out;
                "credential rejected"
            );
        }
    }

    /// Records that a credential was accepted, but not for a request that needs `scope`.
    pub(super) fn forbidden(&self, caller: &Caller, scope: Scope, peer: &str, request_id: &str) {
        if let Some(left_out) = self.permit(Instant::now()) {
            log::warn!(
                target: TARGET,
                reason = "the credential lacks the scope of the request",
                principal = &*caller.id, tenant = caller.tenant.as_str(),
                scope = scope.as_str(), peer, request_id, left_out;
                "request forbidden"
            );
        }
    }

    /// The number of lines left out since the last line, if another line may be written.
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
