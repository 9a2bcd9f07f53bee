//! How many connections reads and writes may take.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a connection is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Class {
    /// It changes nothing.
    Read,
    /// It changes something, and waits for locks and for the disk.
    Write,
}

/// The shares of one pool.
pub(super) struct Shares {
    read: Share,
    write: Share,
    /// For each connection that is lent, opened, or not closed by the server yet: who has one finds
    /// an idle connection, or may open one.
    places: Arc<Semaphore>,
}

struct Share {
    /// Taken by those who are not first in line before they ask for a part: so few of them do that
    /// at a time that who is first in line waits for one statement at most.
    turns: Arc<Semaphore>,
    parts: Arc<Semaphore>,
}

impl Shares {
    /// Three quarters for each, so that at least a quarter, and one, is left for the other.
    /// A pool of one connection has no two parts: both share it.
    pub(super) fn of(max_size: usize) -> Self {
        let most = max_size.saturating_sub(1);
        let share = (max_size * 3 / 4).min(most).max(1);
        let new = || Share {
            turns: Arc::new(Semaphore::new(share)),
            parts: Arc::new(Semaphore::new(share)),
        };
        Self {
            read: new(),
            write: new(),
            places: Arc::new(Semaphore::new(max_size)),
        }
    }

    fn share(&self, class: Class) -> &Share {
        match class {
            Class::Read => &self.read,
            Class::Write => &self.write,
        }
    }

    /// A turn to ask for a part.
    pub(super) async fn turn(&self, class: Class) -> Option<OwnedSemaphorePermit> {
        let turns = Arc::clone(&self.share(class).turns);
        turns.acquire_owned().await.ok()
    }

    /// A part of the share: the right to one connection.
    pub(super) async fn part(&self, class: Class) -> Option<OwnedSemaphorePermit> {
        let parts = Arc::clone(&self.share(class).parts);
        parts.acquire_owned().await.ok()
    }

    /// A part of the whole pool.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// A part of the whole pool, if one is free now.
    pub(super) fn try_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_leaves_something_to_the_other() {
        for (size, share) in [(1, 1), (2, 1), (3, 2), (4, 3), (6, 4), (8, 6), (20, 15)] {
            let shares = Shares::of(size);
            for class in [Class::Read, Class::Write] {
                assert_eq!(
                    shares.share(class).parts.available_permits(),
                    share,
                    "{size}"
                );
            }
        }
    }
}
