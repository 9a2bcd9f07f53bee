//! Connects the watches to the reconciles while this process is the leader.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, future, stream};
use kube::Client;
use kube::runtime::applier;
use kube::runtime::controller::{self, Config};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use crate::cluster::Kind;
use crate::cluster::watch_activity::WatchActivity;
use crate::crd::OrderService;
use crate::reconcile::{Context, error_policy, reconcile};
use crate::watch::MAX_WATCH_SILENCE;
use crate::watch::queue::Queue;
use crate::watch::start::{Scope, WatchStarter};

/// Changes of one object within this time result in one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How often the age of the watches is checked.
const WATCH_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Why the controller cannot continue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControllerError {
    /// A task that follows a watch ended. It retries after errors, so only a panic ends it.
    #[error("a watch ended")]
    WatchEnded(#[source] Option<JoinError>),
    /// A watch delivers no events, not even bookmarks.
    #[error("a watch has been silent for {} s", .0.as_secs())]
    WatchSilent(Duration),
    /// The stream of reconciles ended without a request to stop.
    #[error("the controller ended")]
    Ended,
}

/// Watches and reconciles until `stop` resolves, then completes the reconciles that are running.
///
/// # Errors
/// When a watch cannot continue.
pub(crate) async fn control(
    client: Client,
    context: Arc<Context>,
    scope: Scope,
    (store, writer): (Store<OrderService>, Writer<OrderService>),
    watches: WatchActivity,
    concurrency: u16,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ControllerError> {
    let (queue, mut receiver) = Queue::new(context.metrics.clone());
    let (wake, mut woken) = mpsc::unbounded_channel();
    context.records.fleet.wake(wake);
    let mut tasks = JoinSet::new();
    let mut starter = WatchStarter {
        client,
        scope,
        records: context.records.clone(),
        store: store.clone(),
        queue: queue.clone(),
        watches: watches.clone(),
        ready: Vec::new(),
    };
    starter.start_order_services(&mut tasks, writer);
    for kind in Kind::WATCHED {
        starter.start(&mut tasks, kind);
    }

    // The first reconcile waits until every watch has listed its objects: an object that is not in the index yet
    // would appear not to exist.
    let ready = future::join_all(std::mem::take(&mut starter.ready));
    let requests = stream::poll_fn(move |context| receiver.poll_recv(context));
    let requests = ready
        .map(move |_| requests)
        .flatten_stream()
        .map(Ok::<_, Infallible>)
        .take_until(stop);
    let config = Config::default()
        .concurrency(concurrency)
        .debounce(DEBOUNCE);
    let (gone, permitted) = (queue.clone(), queue.clone());
    let reconciles = applier(
        move |object: Arc<OrderService>, context| {
            queue.reconcile_starts(&ObjectRef::from_obj(&*object));
            Box::pin(reconcile(object, context))
        },
        |object, error, context: Arc<Context>| error_policy(&object, error, &context),
        context,
        store,
        Box::pin(requests),
        config,
    );
    let mut reconciles = std::pin::pin!(reconciles.for_each(|result| {
        // `error_policy` has logged the errors of reconciles. A queued object that no longer exists is not an
        // error.
        if let Err(controller::Error::ObjectNotFound(object)) = result {
            let named = ObjectRef::new(&object.name);
            gone.reconcile_starts(&match &object.namespace {
                Some(namespace) => named.within(namespace),
                None => named,
            });
        }
        future::ready(())
    }));
    let mut tick = tokio::time::interval(WATCH_CHECK_INTERVAL);
    loop {
        tokio::select! {
            () = &mut reconciles => return Ok(()),
            ended = tasks.join_next() => {
                return Err(ControllerError::WatchEnded(ended.and_then(Result::err)));
            }
            Some((namespace, name)) = woken.recv() => {
                permitted.add(ObjectRef::new(&name).within(&namespace));
            }
            _ = tick.tick() => {
                let age = watches.oldest_age();
                if age > MAX_WATCH_SILENCE {
                    return Err(ControllerError::WatchSilent(age));
                }
            }
        }
    }
}
