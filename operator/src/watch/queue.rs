//! The queue of OrderServices that need a reconcile.

use std::collections::HashSet;
use std::sync::Arc;

use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::crd::OrderService;
use crate::metrics::Metrics;

/// OrderServices that need a reconcile. Each counts once until its reconcile starts.
#[derive(Clone)]
pub(crate) struct Queue {
    waiting: Arc<Mutex<HashSet<ObjectRef<OrderService>>>>,
    sender: mpsc::UnboundedSender<ObjectRef<OrderService>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Queue {
    /// Creates an empty queue and its receiver.
    pub(crate) fn new(
        metrics: Arc<Metrics>,
    ) -> (Self, mpsc::UnboundedReceiver<ObjectRef<OrderService>>) {
        metrics.queue_depth.set(0);
        let (sender, receiver) = mpsc::unbounded_channel();
        let queue = Self {
            waiting: Arc::default(),
            sender,
            metrics,
        };
        (queue, receiver)
    }

    /// Adds an object.
    pub(crate) fn add(&self, object: ObjectRef<OrderService>) {
        if self.waiting.lock().insert(object.clone()) {
            self.metrics.queue_depth.inc();
        }
        // Sent even if the object is already waiting: the scheduler may just be dropping it because it was
        // deleted. The scheduler merges duplicates. The receiver is gone only at shutdown.
        let _ = self.sender.send(object);
    }

    /// Removes an object whose reconcile starts. Later changes add it again.
    pub(crate) fn reconcile_starts(&self, object: &ObjectRef<OrderService>) {
        if self.waiting.lock().remove(object) {
            self.metrics.queue_depth.dec();
        }
    }
}
