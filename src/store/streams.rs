//! The number of open streams: event streams and exports.

use super::StoreError;
use crate::domain::Caller;
use crate::shares::{FairShares, Share, Unavailable, Wanted};

/// Permits for event streams and exports, `MAX_STREAMS` in total. Clones share them.
#[derive(Clone)]
pub(super) struct OpenStreams(FairShares);

impl OpenStreams {
    pub(super) fn new(max_streams: usize) -> Self {
        Self(FairShares::new(max_streams))
    }

    /// Acquires a permit for a stream, which is open until the permit is dropped.
    ///
    /// # Errors
    /// [`StoreError::ShareExceeded`] if the caller has its share of the streams open, and [`StoreError::Overloaded`] if
    /// `MAX_STREAMS` are open.
    pub(super) fn open(&self, caller: &Caller) -> Result<Share, StoreError> {
        let share = self.0.acquire(&caller.id, Wanted::of(1));
        share.map_err(|error| match error {
            Unavailable::Share => StoreError::ShareExceeded,
            Unavailable::Capacity => StoreError::Overloaded,
        })
    }
}
