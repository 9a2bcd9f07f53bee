//! From what the watches bring to objects with news.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use kube::api::{ObjectMeta, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::index;
use crate::cluster::Kind;
use crate::crd::OrderService;
use crate::metrics::Metrics;
use crate::reconcile::Context;

/// Objects with news, counted once until their reconcile starts.
#[derive(Clone)]
pub(crate) struct Queue {
    waiting: Arc<Mutex<HashSet<ObjectRef<OrderService>>>>,
    sender: mpsc::UnboundedSender<ObjectRef<OrderService>>,
    metrics: Arc<Metrics>,
}

impl Queue {
    /// An empty one, and where its objects come out.
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
        // Sent although it waits already, in case that is being found gone this moment; the scheduler
        // makes one of two. The receiver is gone only when everything ends.
        let _ = self.sender.send(object);
    }

    /// Its reconcile starts: what comes from now on is news.
    pub(crate) fn reconcile_starts(&self, object: &ObjectRef<OrderService>) {
        if self.waiting.lock().remove(object) {
            self.metrics.queue_depth.dec();
        }
    }
}

/// Follows a watch of what an OrderService is made of.
pub(crate) async fn follow_owned(
    stream: impl Stream<Item = watcher::Result<Event<PartialObjectMeta>>>,
    kind: Kind,
    context: Arc<Context>,
    store: Store<OrderService>,
    queue: Queue,
    ready: oneshot::Sender<()>,
) {
    let mut stream = std::pin::pin!(stream);
    let mut ready = Some(ready);
    let mut listed = HashSet::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                let metadata = &object.metadata;
                listed.insert((
                    metadata.namespace.clone().unwrap_or_default(),
                    metadata.name.clone().unwrap_or_default(),
                ));
                if context.index.observe(kind, metadata) && ready.is_none() {
                    enqueue_owner(&queue, metadata);
                }
            }
            Ok(Event::InitDone) => {
                // Of what went while nobody looked nobody knows whose it was.
                if context.index.retain(kind, &listed) {
                    for object in store.state() {
                        queue.add(ObjectRef::from_obj(&*object));
                    }
                }
                listed = HashSet::new();
                if let Some(ready) = ready.take() {
                    // Nobody waits for it when everything ends.
                    let _ = ready.send(());
                }
            }
            Ok(Event::Apply(object)) => {
                if context.index.observe(kind, &object.metadata) {
                    enqueue_owner(&queue, &object.metadata);
                }
            }
            Ok(Event::Delete(object)) => {
                let metadata = &object.metadata;
                let namespace = metadata.namespace.as_deref().unwrap_or_default();
                let name = metadata.name.as_deref().unwrap_or_default();
                context.index.remove(kind, namespace, name);
                // Where the OrderService went first this is the garbage collector.
                if let Some((uid, owner)) = index::controller_owner(metadata)
                    && store
                        .get(&ObjectRef::new(owner).within(namespace))
                        .is_some()
                {
                    context.contention.note_deletion(uid, kind, name);
                }
                enqueue_owner(&queue, metadata);
            }
            Err(error) => record_watch_error(&context.metrics, kind.as_str(), &error),
        }
    }
}

fn enqueue_owner(queue: &Queue, metadata: &ObjectMeta) {
    if let (Some((_, owner)), Some(namespace)) =
        (index::controller_owner(metadata), &metadata.namespace)
    {
        queue.add(ObjectRef::new(owner).within(namespace));
    }
}

/// Follows the watch of OrderServices.
pub(crate) async fn follow_order_services(
    stream: impl Stream<Item = watcher::Result<Event<DeserializeGuard<OrderService>>>>,
    mut writer: Writer<OrderService>,
    context: Arc<Context>,
    store: Store<OrderService>,
    queue: Queue,
    ready: oneshot::Sender<()>,
) {
    let mut stream = std::pin::pin!(stream);
    let mut ready = Some(ready);
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                record_watch_error(&context.metrics, "OrderService", &error);
                continue;
            }
        };
        let Some(event) = valid_event(event, &store) else {
            continue;
        };
        match &event {
            Event::Init => {}
            Event::InitApply(object) => queue.add(ObjectRef::from_obj(object)),
            Event::InitDone => {
                if let Some(ready) = ready.take() {
                    // Nobody waits for it when everything ends.
                    let _ = ready.send(());
                }
            }
            Event::Apply(object) => {
                let key = ObjectRef::from_obj(object);
                // A status, and most of all our own, is no reason to look again.
                if store
                    .get(&key)
                    .is_none_or(|before| needs_reconcile(&before, object))
                {
                    queue.add(key);
                }
            }
            Event::Delete(object) => {
                let uid = object.metadata.uid.as_deref().unwrap_or_default();
                context.backoff.forget(uid);
                context.contention.forget(uid);
                context.statuses.forget(uid);
            }
        }
        writer.apply_watcher_event(&event);
    }
}

fn needs_reconcile(before: &OrderService, after: &OrderService) -> bool {
    let of = |object: &OrderService| {
        let metadata = &object.metadata;
        (
            metadata.uid.clone(),
            metadata.generation,
            metadata.annotations.clone(),
            metadata.deletion_timestamp.clone(),
        )
    };
    of(before) != of(after)
}

/// Without what nobody here reads. One object that cannot be read must not hide all the others; what
/// was known of it before is forgotten, so that nothing goes on by a spec that does not hold any more.
fn valid_event(
    event: Event<DeserializeGuard<OrderService>>,
    store: &Store<OrderService>,
) -> Option<Event<OrderService>> {
    let forgotten = |metadata: Box<ObjectMeta>| last_known(&metadata, store).map(Event::Delete);
    match event {
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
        Event::InitApply(object) => validated(object).ok().map(Event::InitApply),
        Event::Apply(object) => {
            validated(object).map_or_else(forgotten, |it| Some(Event::Apply(it)))
        }
        Event::Delete(object) => {
            validated(object).map_or_else(forgotten, |it| Some(Event::Delete(it)))
        }
    }
}

fn validated(object: DeserializeGuard<OrderService>) -> Result<OrderService, Box<ObjectMeta>> {
    match object.0 {
        Ok(mut object) => {
            object.metadata.managed_fields = None;
            object.metadata.labels = None;
            if let Some(annotations) = &mut object.metadata.annotations {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
            Ok(object)
        }
        Err(invalid) => {
            log::error!(
                name = invalid.metadata.name.as_deref().unwrap_or_default(),
                namespace = invalid.metadata.namespace.as_deref().unwrap_or_default(),
                error = invalid.error.as_str();
                "an OrderService cannot be read: is the CRD newer than the operator?"
            );
            Err(Box::new(invalid.metadata))
        }
    }
}

/// What was read of an object before.
fn last_known(metadata: &ObjectMeta, store: &Store<OrderService>) -> Option<OrderService> {
    let reference = ObjectRef::new(metadata.name.as_deref()?);
    let reference = reference.within(metadata.namespace.as_deref()?);
    store.get(&reference).map(|object| (*object).clone())
}

fn record_watch_error(metrics: &Metrics, kind: &str, error: &watcher::Error) {
    metrics.watch_errors.with_label_values(&[kind]).inc();
    log::warn!(kind, error:% = error; "a watch broke off and is started again");
}

#[cfg(test)]
mod tests;
