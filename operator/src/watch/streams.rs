//! Follows the watches: updates the records and queues the OrderServices that need a reconcile.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use kube::api::{ObjectMeta, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use tokio::sync::oneshot;

use super::queue::Queue;
use super::{Records, index};
use crate::cluster::Kind;
use crate::crd::{ConditionStatus, OrderService};
use crate::fleet::{Cause, VERSION};
use crate::metrics::Metrics;

/// Follows the watch of a kind of objects that OrderServices own.
pub(super) async fn follow_owned(
    stream: impl Stream<Item = watcher::Result<Event<PartialObjectMeta>>>,
    kind: Kind,
    records: Arc<Records>,
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
                if records.index.observe(kind, metadata) && ready.is_none() {
                    enqueue_owner(&queue, metadata);
                }
            }
            Ok(Event::InitDone) => {
                // Objects deleted while the watch was down have unknown owners: requeue all.
                if records.index.retain(kind, &listed) {
                    for object in store.state() {
                        queue.add(ObjectRef::from_obj(&*object));
                    }
                }
                listed = HashSet::new();
                if let Some(ready) = ready.take() {
                    // The receiver is gone only at shutdown.
                    let _ = ready.send(());
                }
            }
            Ok(Event::Apply(object)) => {
                if records.index.observe(kind, &object.metadata) {
                    enqueue_owner(&queue, &object.metadata);
                }
            }
            Ok(Event::Delete(object)) => {
                let metadata = &object.metadata;
                let namespace = metadata.namespace.as_deref().unwrap_or_default();
                let name = metadata.name.as_deref().unwrap_or_default();
                records.index.remove_deleted(kind, metadata);
                let deleted = metadata.uid.as_deref().unwrap_or_default();
                let is_own = records.contention.is_own_deletion(deleted);
                // If the OrderService is gone, the garbage collector deleted the object.
                if !is_own
                    && let Some((uid, owner)) = index::controller_owner(metadata)
                    && store
                        .get(&ObjectRef::new(owner).within(namespace))
                        .is_some_and(|object| object.metadata.uid.as_deref() == Some(uid))
                {
                    records.contention.record_deletion(uid, kind, name);
                }
                enqueue_owner(&queue, metadata);
            }
            Err(error) => record_watch_error(&queue.metrics, kind.as_str(), &error),
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
pub(super) async fn follow_order_services(
    stream: impl Stream<Item = watcher::Result<Event<DeserializeGuard<OrderService>>>>,
    mut writer: Writer<OrderService>,
    records: Arc<Records>,
    store: Store<OrderService>,
    queue: Queue,
    ready: oneshot::Sender<()>,
) {
    let mut stream = std::pin::pin!(stream);
    let mut ready = Some(ready);
    let mut listed = HashSet::new();
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                record_watch_error(&queue.metrics, "OrderService", &error);
                continue;
            }
        };
        let Some(event) = valid_event(event, &store) else {
            continue;
        };
        match &event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.extend(object.metadata.uid.clone());
                restore_permit(&records, object);
                queue.add(ObjectRef::from_obj(object));
            }
            Event::InitDone => {
                // Those that were deleted while the watch was down have no event.
                for object in store.state() {
                    let uid = object.metadata.uid.as_deref().unwrap_or_default();
                    if !listed.contains(uid) {
                        records.forget(uid);
                    }
                }
                listed = HashSet::new();
                if let Some(ready) = ready.take() {
                    // The receiver is gone only at shutdown.
                    let _ = ready.send(());
                }
            }
            Event::Apply(object) => {
                let key = ObjectRef::from_obj(object);
                // A changed status, usually written by this operator, does not need a reconcile.
                if store
                    .get(&key)
                    .is_none_or(|before| needs_reconcile(&before, object))
                {
                    queue.add(key);
                }
            }
            Event::Delete(object) => {
                let uid = object.metadata.uid.as_deref().unwrap_or_default();
                records.forget(uid);
            }
        }
        writer.apply_watcher_event(&event);
    }
}

/// Restores from the status what an earlier leader started. The first reconcile of the object corrects it.
fn restore_permit(records: &Records, object: &OrderService) {
    let (Some(uid), Some(status)) = (object.metadata.uid.as_deref(), &object.status) else {
        return;
    };
    let is_failed = status.failed_operator_version.as_deref() == Some(VERSION);
    records.fleet.record(uid, is_failed);
    let is_in_progress = status.conditions.iter().any(|condition| {
        condition.type_ == "Progressing"
            && condition.status == ConditionStatus::True
            && matches!(condition.reason.as_str(), "Migrating" | "RollingOut")
    });
    if is_in_progress
        && status.settled_generation.is_some()
        && status.settled_generation == object.metadata.generation
    {
        records.fleet.resume(uid, Cause::Template);
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

/// Removes metadata that the operator does not need from the event. An object that cannot be deserialized must not
/// block the others. It counts as deleted, so that the operator does not act on its previous spec.
fn valid_event(
    event: Event<DeserializeGuard<OrderService>>,
    store: &Store<OrderService>,
) -> Option<Event<OrderService>> {
    let as_deleted = |metadata: Box<ObjectMeta>| last_known(&metadata, store).map(Event::Delete);
    match event {
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
        Event::InitApply(object) => validated(object).ok().map(Event::InitApply),
        Event::Apply(object) => {
            validated(object).map_or_else(as_deleted, |it| Some(Event::Apply(it)))
        }
        Event::Delete(object) => {
            validated(object).map_or_else(as_deleted, |it| Some(Event::Delete(it)))
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
                "an OrderService cannot be deserialized: is the CRD newer than the operator?"
            );
            Err(Box::new(invalid.metadata))
        }
    }
}

/// Returns the last version of an object that could be deserialized.
fn last_known(metadata: &ObjectMeta, store: &Store<OrderService>) -> Option<OrderService> {
    let reference = ObjectRef::new(metadata.name.as_deref()?);
    let reference = reference.within(metadata.namespace.as_deref()?);
    store.get(&reference).map(|object| (*object).clone())
}

fn record_watch_error(metrics: &Metrics, kind: &str, error: &watcher::Error) {
    metrics.watch_errors.with_label_values(&[kind]).inc();
    log::warn!(kind, error:% = error; "a watch failed and is restarted");
}

#[cfg(test)]
mod tests;
