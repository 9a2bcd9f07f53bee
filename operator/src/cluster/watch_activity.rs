//! When each watch last delivered data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// When each watch last delivered data, by the path of its request.
#[derive(Clone, Debug, Default)]
pub struct WatchActivity(Arc<Mutex<BTreeMap<String, Instant>>>);

impl WatchActivity {
    /// Adds a watch. Its age grows from now on, even if it never delivers any data.
    pub(crate) fn expect(&self, path: &str) {
        self.0
            .lock()
            .entry(path.to_owned())
            .or_insert_with(Instant::now);
    }

    /// Removes all watches.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    pub(super) fn record(&self, path: &str) {
        if let Some(at) = self.0.lock().get_mut(path) {
            *at = Instant::now();
        }
    }

    /// Returns how long ago the quietest watch delivered data.
    pub(crate) fn oldest_age(&self) -> Duration {
        let oldest = self.0.lock().values().min().copied();
        oldest.map_or(Duration::ZERO, |at| at.elapsed())
    }
}
