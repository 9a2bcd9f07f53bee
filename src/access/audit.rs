//! The record of rejected credentials and forbidden requests. Its rate is bounded, because clients cause its lines.
//!
//! Anyone can send a bad credential, so rejected credentials have a budget of their own: a flood of them hides no line
//! about a verified principal. Of the lines about verified principals, each principal gets a part.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::{Rejected, Scope};
use crate::domain::Caller;

/// The maximum number of lines about rejected credentials in each [`WINDOW`], and of those about forbidden requests.
const MAX_LINES: usize = 20;
/// The maximum number of lines about forbidden requests of one principal in each [`WINDOW`].
const MAX_LINES_OF_PRINCIPAL: usize = 4;
const WINDOW: Duration = Duration::from_secs(1);
/// How long after a line is left out the number of these lines is logged at the latest.
const REPORT_AFTER: Duration = Duration::from_secs(5);
const TARGET: &str = "order_service::audit";

/// Writes lines under the target `order_service::audit`. No line contains a credential or a part of one.
#[derive(Debug)]
pub(super) struct Audit {
    rejected: Arc<Mutex<Budget>>,
    forbidden: Arc<Mutex<Budget>>,
}

impl Default for Audit {
    fn default() -> Self {
        let budget = |name, max_of_key| Arc::new(Mutex::new(Budget::new(name, max_of_key)));
        Self {
            rejected: budget("credential rejected", MAX_LINES),
            forbidden: budget("request forbidden", MAX_LINES_OF_PRINCIPAL),
        }
    }
}

impl Audit {
    /// Records that a credential was rejected.
    pub(super) fn rejected(&self, reason: Rejected, peer: &str, request_id: &str) {
        // Many peers, or one with many addresses, may send bad credentials. So all share one part.
        if let Some(left_out) = permit(&self.rejected, &Arc::default()) {
            log::warn!(
                target: TARGET,
                reason:%, peer, request_id, left_out;
                "credential rejected"
            );
        }
    }

    /// Records that a credential was accepted, but not for a request that needs `scope`.
    pub(super) fn forbidden(&self, caller: &Caller, scope: Scope, peer: &str, request_id: &str) {
        if let Some(left_out) = permit(&self.forbidden, &caller.id) {
            log::warn!(
                target: TARGET,
                reason = "the credential lacks the scope of the request",
                principal = &*caller.id, tenant = caller.tenant.as_str(),
                scope = scope.as_str(), peer, request_id, left_out;
                "request forbidden"
            );
        }
    }
}

/// Returns the number of lines left out since the last line, if another line may be written. Otherwise the number of
/// lines left out is logged later, even if no further line follows.
fn permit(budget: &Arc<Mutex<Budget>>, key: &Arc<str>) -> Option<u64> {
    let mut state = budget.lock();
    let permit = state.permit(key, Instant::now());
    if permit.is_none()
        && !state.reports
        && let Ok(runtime) = Handle::try_current()
    {
        state.reports = true;
        let budget = Arc::clone(budget);
        runtime.spawn(async move {
            sleep(REPORT_AFTER).await;
            budget.lock().report();
        });
    }
    permit
}

/// Lines of one kind in a window of time.
#[derive(Debug)]
struct Budget {
    /// The message of the lines.
    name: &'static str,
    max_of_key: usize,
    began: Option<Instant>,
    /// The lines written in this window, by key. There are at most [`MAX_LINES`] lines, and so as many keys.
    lines: HashMap<Arc<str>, usize>,
    left_out: u64,
    /// Whether a task will report the number of lines left out.
    reports: bool,
}

impl Budget {
    fn new(name: &'static str, max_of_key: usize) -> Self {
        Self {
            name,
            max_of_key,
            began: None,
            lines: HashMap::new(),
            left_out: 0,
            reports: false,
        }
    }

    fn permit(&mut self, key: &Arc<str>, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now - began >= WINDOW) {
            self.began = Some(now);
            self.lines.clear();
        }
        let of_key = self.lines.get(key).copied().unwrap_or_default();
        if of_key >= self.max_of_key || self.lines.values().sum::<usize>() >= MAX_LINES {
            self.left_out += 1;
            return None;
        }
        self.lines.insert(Arc::clone(key), of_key + 1);
        Some(std::mem::take(&mut self.left_out))
    }

    /// Logs the number of lines left out, unless a line has reported it meanwhile.
    fn report(&mut self) {
        self.reports = false;
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            log::warn!(target: TARGET, lines = self.name, left_out; "lines left out");
        }
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.report();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn a_flood_leaves_lines_out_and_counts_them() {
        let (mut budget, start) = (Budget::new("", MAX_LINES), Instant::now());
        let peers = key("");
        let written = (0..100).filter(|_| budget.permit(&peers, start).is_some());
        assert_eq!(written.count(), 20);
        assert_eq!(budget.permit(&peers, start + WINDOW), Some(80));
        assert_eq!(budget.permit(&peers, start + WINDOW), Some(0));
    }

    #[test]
    fn a_principal_hides_no_line_of_another_and_memory_is_bounded() {
        let (mut budget, start) = (Budget::new("", MAX_LINES_OF_PRINCIPAL), Instant::now());
        let (one, other) = (key("one"), key("other"));
        let written = (0..100).filter(|_| budget.permit(&one, start).is_some());
        assert_eq!(written.count(), MAX_LINES_OF_PRINCIPAL);
        assert_eq!(budget.permit(&other, start), Some(96));
        for number in 0..1_000 {
            budget.permit(&key(&number.to_string()), start);
        }
        assert_eq!(budget.lines.values().sum::<usize>(), MAX_LINES);
        assert!(budget.lines.len() <= MAX_LINES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_bad_credentials_hides_no_forbidden_request_and_is_reported_by_time() {
        let audit = Audit::default();
        for _ in 0..100 {
            audit.rejected(Rejected::Malformed, "", "");
        }
        assert_eq!(audit.rejected.lock().left_out, 80);
        assert_eq!(permit(&audit.forbidden, &key("one")), Some(0));
        sleep(REPORT_AFTER - Duration::from_millis(10)).await;
        assert_eq!(audit.rejected.lock().left_out, 80);
        sleep(Duration::from_millis(20)).await;
        let state = audit.rejected.lock();
        assert_eq!((state.left_out, state.reports), (0, false));
    }
}
