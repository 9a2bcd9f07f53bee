//! Signals that events were written.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

/// A signal from writers to the readers of the feed, in this process and in others. Cheap to clone.
#[derive(Clone)]
pub(super) struct FeedSignal {
    readers: watch::Sender<()>,
    announced: Arc<Notify>,
}

impl FeedSignal {
    pub(super) fn new() -> Self {
        Self {
            readers: watch::Sender::new(()),
            announced: Arc::default(),
        }
    }

    /// Announces that this process has written events, to its own readers and to the task that notifies
    /// other processes.
    pub(super) fn announce(&self) {
        self.wake_readers();
        self.announced.notify_one();
    }

    /// Wakes the readers of this process.
    pub(super) fn wake_readers(&self) {
        self.readers.send_replace(());
    }

    /// Waits until this process announces events. For one waiter.
    pub(super) async fn announced(&self) {
        self.announced.notified().await;
    }

    /// A receiver that changes when readers are woken.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.readers.subscribe()
    }
}
