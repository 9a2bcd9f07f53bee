//! The watches and the queue between them and the reconciles.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, future, stream};
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{self, Config};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::runtime::{WatchStreamExt as _, applier};
use kube::{Client, Resource as _};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::build::labels::{MANAGED_BY, MANAGER};
use crate::cluster::Kind;
use crate::cluster::fence_layer::WatchActivity;
use crate::crd::OrderService;
use crate::reconcile::{Context, error_policy, reconcile};
use crate::watch::streams::{Queue, follow_order_services, follow_owned};

/// The API server ends a watch after this; one that died silently is noticed 5 s later.
const WATCH_TIMEOUT_SECONDS: u32 = 240;
/// A process whose watches are silent for longer does not know what happens, and ends.
pub(super) const MAX_WATCH_SILENCE: Duration = Duration::from_secs(300);
/// Lists come in pages: memory is for what is there, not for how it is fetched.
const LIST_PAGE_SIZE: u32 = 100;
/// What happens to one object within this time is one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// Which objects are looked after.
#[derive(Clone, Debug)]
pub struct Scope(pub Option<String>);

/// Watches and reconciles until told to stop, then ends what is under way.
///
/// # Errors
/// When a watch cannot go on.
pub async fn control(
    client: Client,
    context: Arc<Context>,
    scope: Scope,
    (store, writer): (Store<OrderService>, Writer<OrderService>),
    watches: WatchActivity,
    concurrency: u16,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), String> {
    let (queue, mut receiver) = Queue::new(context.metrics.clone());
    let mut tasks = JoinSet::new();
    let mut starter = WatchStarter {
        client,
        scope,
        context: context.clone(),
        store: store.clone(),
        queue: queue.clone(),
        watches: watches.clone(),
        ready: Vec::new(),
    };
    starter.start_order_services(&mut tasks, writer);
    for kind in Kind::ALL {
        starter.start(&mut tasks, kind);
    }

    // Nothing is decided before everything is known once.
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
    let gone = queue.clone();
    let work = applier(
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
    let mut work = std::pin::pin!(work.for_each(|result| {
        // Errors were told by the policy; that an object is gone is none.
        if let Err(controller::Error::ObjectNotFound(object)) = result {
            let named = ObjectRef::new(&object.name);
            gone.reconcile_starts(&match &object.namespace {
                Some(namespace) => named.within(namespace),
                None => named,
            });
        }
        future::ready(())
    }));
    let mut tick = tokio::time::interval(Duration::from_secs(10));
    loop {
        tokio::select! {
            () = &mut work => return Ok(()),
            ended = tasks.join_next() => return Err(format!("a watch ended: {ended:?}")),
            _ = tick.tick() => {
                let age = watches.oldest_age();
                if age > MAX_WATCH_SILENCE {
                    return Err(format!("a watch is silent for {} s", age.as_secs()));
                }
            }
        }
    }
}

/// What the tasks that watch share.
struct WatchStarter {
    client: Client,
    scope: Scope,
    context: Arc<Context>,
    store: Store<OrderService>,
    queue: Queue,
    watches: WatchActivity,
    ready: Vec<oneshot::Receiver<()>>,
}

fn config() -> watcher::Config {
    watcher::Config::default()
        .timeout(WATCH_TIMEOUT_SECONDS)
        .page_size(LIST_PAGE_SIZE)
}

impl WatchStarter {
    /// Watches what an OrderService is made of: metadata only, and only what the operator made.
    fn start(&mut self, tasks: &mut JoinSet<()>, kind: Kind) {
        let resource = kind.resource();
        let namespace = self.scope.0.as_deref();
        self.watches
            .expect(&DynamicObject::url_path(&resource, namespace));
        let client = self.client.clone();
        let api: Api<PartialObjectMeta> = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let config = config().labels(&format!("{MANAGED_BY}={MANAGER}"));
        let stream = watcher::watcher(api, config).default_backoff();
        tasks.spawn(follow_owned(
            stream,
            kind,
            self.context.clone(),
            self.store.clone(),
            self.queue.clone(),
            self.ready_sender(),
        ));
    }

    /// Watches OrderServices.
    fn start_order_services(&mut self, tasks: &mut JoinSet<()>, writer: Writer<OrderService>) {
        let namespace = self.scope.0.as_deref();
        self.watches.expect(&OrderService::url_path(&(), namespace));
        let client = self.client.clone();
        let api: Api<DeserializeGuard<OrderService>> = match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let stream = watcher::watcher(api, config()).default_backoff();
        tasks.spawn(follow_order_services(
            stream,
            writer,
            self.context.clone(),
            self.store.clone(),
            self.queue.clone(),
            self.ready_sender(),
        ));
    }

    fn ready_sender(&mut self) -> oneshot::Sender<()> {
        let (sender, receiver) = oneshot::channel();
        self.ready.push(receiver);
        sender
    }
}
