//! Wakes those who wait for events.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

/// A signal from writers to the reader of events. Cheap to clone.
#[derive(Clone)]
pub(super) struct FeedSignal {
    readers: watch::Sender<()>,
    written: Arc<Notify>,
}

impl FeedSignal {
    pub(super) fn new() -> Self {
        Self {
            readers: watch::Sender::new(()),
            written: Arc::default(),
        }
    }

    /// Something was written by this process: wakes its readers, and whoever tells other processes.
    pub(super) fn ring(&self) {
        self.readers();
        self.written.notify_one();
    }

    /// Wakes the readers of this process.
    pub(super) fn readers(&self) {
        self.readers.send_replace(());
    }

    /// Waits until something was written by this process. For one waiter.
    pub(super) async fn written(&self) {
        self.written.notified().await;
    }

    /// Something to wait on for readers.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.readers.subscribe()
    }
}
