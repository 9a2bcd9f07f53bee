//! The watches and the queue between them and the reconciles.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, Stream, StreamExt as _, future, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Config;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, applier};
use kube::{Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Context, error_policy, index, reconcile};
use crate::build::labels::{MANAGED_BY, MANAGER};
use crate::cluster::Kind;
use crate::cluster::transport::Watches;
use crate::crd::OrderService;
use crate::metrics::Metrics;

/// The API server ends a watch after this; one that died silently is noticed 5 s later.
const WATCH_SECONDS: u32 = 240;
/// A process whose watches are silent for longer does not know what happens, and ends.
pub(super) const WATCH_LIMIT: Duration = Duration::from_secs(300);
/// Lists come in pages: memory is for what is there, not for how it is fetched.
const PAGE: u32 = 100;
/// What happens to one object within this time is one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// Which objects are looked after.
#[derive(Clone, Debug)]
pub struct Scope(pub Option<String>);

impl Scope {
    fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.0 {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        }
    }

    fn path<K: Resource<DynamicType = ()>>(&self) -> String {
        K::url_path(&(), self.0.as_deref())
    }
}

/// Objects with news, each once until its reconcile starts.
#[derive(Clone)]
struct Queue {
    waiting: Arc<Mutex<HashSet<ObjectRef<OrderService>>>>,
    sender: mpsc::UnboundedSender<ObjectRef<OrderService>>,
    metrics: Arc<Metrics>,
}

impl Queue {
    fn add(&self, object: ObjectRef<OrderService>) {
        if self.waiting.lock().insert(object.clone()) {
            self.metrics.queue_depth.inc();
            // The receiver is gone only when everything ends.
            let _ = self.sender.send(object);
        }
    }

    fn start(&self, object: &ObjectRef<OrderService>) {
        if self.waiting.lock().remove(object) {
            self.metrics.queue_depth.dec();
        }
    }
}

/// Watches and reconciles until told to stop, then ends what is under way.
///
/// # Errors
/// When a watch cannot go on.
pub async fn control(
    client: Client,
    context: Arc<Context>,
    scope: Scope,
    (store, writer): (Store<OrderService>, Writer<OrderService>),
    watches: Watches,
    concurrency: u16,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), String> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    context.metrics.queue_depth.set(0);
    let queue = Queue {
        waiting: Arc::default(),
        sender,
        metrics: context.metrics.clone(),
    };
    let mut tasks = JoinSet::new();
    let mut watching = Watching {
        client,
        scope,
        context: context.clone(),
        store: store.clone(),
        queue: queue.clone(),
        watches: watches.clone(),
        ready: Vec::new(),
    };
    watching.start_main(&mut tasks, writer);
    watching.start::<ServiceAccount>(&mut tasks, Kind::ServiceAccount);
    watching.start::<ConfigMap>(&mut tasks, Kind::ConfigMap);
    watching.start::<NetworkPolicy>(&mut tasks, Kind::NetworkPolicy);
    watching.start::<Service>(&mut tasks, Kind::Service);
    watching.start::<PodDisruptionBudget>(&mut tasks, Kind::PodDisruptionBudget);
    watching.start::<Job>(&mut tasks, Kind::Job);
    watching.start::<Deployment>(&mut tasks, Kind::Deployment);
    watching.start::<HorizontalPodAutoscaler>(&mut tasks, Kind::HorizontalPodAutoscaler);

    // Nothing is decided before everything is known once.
    let ready = future::join_all(std::mem::take(&mut watching.ready));
    let requests = stream::poll_fn(move |context| receiver.poll_recv(context));
    let requests = ready
        .map(move |_| requests)
        .flatten_stream()
        .map(Ok::<_, Infallible>)
        .take_until(stop);
    let config = Config::default()
        .concurrency(concurrency)
        .debounce(DEBOUNCE);
    let work = applier(
        move |object: Arc<OrderService>, context| {
            queue.start(&ObjectRef::from_obj(&*object));
            Box::pin(reconcile(object, context))
        },
        |object, error, context: Arc<Context>| error_policy(&object, error, &context),
        context,
        store,
        Box::pin(requests),
        config,
    );
    // Errors were told by the policy; that an object is gone is none.
    let mut work = std::pin::pin!(work.for_each(|_| future::ready(())));
    let mut tick = tokio::time::interval(Duration::from_secs(10));
    loop {
        tokio::select! {
            () = &mut work => return Ok(()),
            ended = tasks.join_next() => return Err(format!("a watch ended: {ended:?}")),
            _ = tick.tick() => {
                let age = watches.age();
                if age > WATCH_LIMIT {
                    return Err(format!("a watch is silent for {} s", age.as_secs()));
                }
            }
        }
    }
}

/// What the tasks that watch share.
struct Watching {
    client: Client,
    scope: Scope,
    context: Arc<Context>,
    store: Store<OrderService>,
    queue: Queue,
    watches: Watches,
    ready: Vec<oneshot::Receiver<()>>,
}

fn config() -> watcher::Config {
    watcher::Config::default()
        .timeout(WATCH_SECONDS)
        .page_size(PAGE)
}

impl Watching {
    /// Watches what an OrderService is made of: metadata only, and only what the operator made.
    fn start<K>(&mut self, tasks: &mut JoinSet<()>, kind: Kind)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        self.watches.expect(&self.scope.path::<K>());
        let api: Api<PartialObjectMeta<K>> = self.scope.api(&self.client);
        let config = config().labels(&format!("{MANAGED_BY}={MANAGER}"));
        let stream = watcher::watcher(api, config).default_backoff();
        tasks.spawn(follow_owned(
            stream,
            kind,
            self.context.clone(),
            self.store.clone(),
            self.queue.clone(),
            self.once_ready(),
        ));
    }

    /// Watches OrderServices.
    fn start_main(&mut self, tasks: &mut JoinSet<()>, writer: Writer<OrderService>) {
        self.watches.expect(&self.scope.path::<OrderService>());
        let api: Api<DeserializeGuard<OrderService>> = self.scope.api(&self.client);
        let stream = watcher::watcher(api, config()).default_backoff();
        tasks.spawn(follow_main(
            stream,
            writer,
            self.context.clone(),
            self.store.clone(),
            self.queue.clone(),
            self.once_ready(),
        ));
    }

    fn once_ready(&mut self) -> oneshot::Sender<()> {
        let (sender, receiver) = oneshot::channel();
        self.ready.push(receiver);
        sender
    }
}

async fn follow_owned<K: Resource<DynamicType = ()>>(
    stream: impl Stream<Item = watcher::Result<Event<PartialObjectMeta<K>>>>,
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
                context.index.saw(kind, metadata);
                if ready.is_none() {
                    wake(&queue, metadata);
                }
            }
            Ok(Event::InitDone) => {
                // Of what went while nobody looked nobody knows whose it was.
                if context.index.keep_only(kind, &listed) {
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
                context.index.saw(kind, &object.metadata);
                wake(&queue, &object.metadata);
            }
            Ok(Event::Delete(object)) => {
                let metadata = &object.metadata;
                let namespace = metadata.namespace.as_deref().unwrap_or_default();
                context.index.gone(
                    kind,
                    namespace,
                    metadata.name.as_deref().unwrap_or_default(),
                );
                wake(&queue, metadata);
            }
            Err(error) => broke_off(&context.metrics, kind.as_str(), &error),
        }
    }
}

fn wake(queue: &Queue, metadata: &kube::api::ObjectMeta) {
    if let (Some((_, owner)), Some(namespace)) = (index::owner(metadata), &metadata.namespace) {
        queue.add(ObjectRef::new(owner).within(namespace));
    }
}

async fn follow_main(
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
                broke_off(&context.metrics, "OrderService", &error);
                continue;
            }
        };
        let Some(event) = readable(event) else {
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
                    .is_none_or(|before| is_news(&before, object))
                {
                    queue.add(key);
                }
            }
            Event::Delete(object) => {
                let uid = object.metadata.uid.as_deref().unwrap_or_default();
                context.backoff.forget(uid);
                context.statuses.forget(uid);
            }
        }
        writer.apply_watcher_event(&event);
    }
}

fn is_news(before: &OrderService, after: &OrderService) -> bool {
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

/// Without what nobody here reads. One object that cannot be read must not hide all the others.
fn readable(event: Event<DeserializeGuard<OrderService>>) -> Option<Event<OrderService>> {
    let read = |DeserializeGuard(object): DeserializeGuard<OrderService>| match object {
        Ok(mut object) => {
            object.metadata.managed_fields = None;
            if let Some(annotations) = &mut object.metadata.annotations {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
            Some(object)
        }
        Err(invalid) => {
            log::error!(
                name = invalid.metadata.name.as_deref().unwrap_or_default(),
                namespace = invalid.metadata.namespace.as_deref().unwrap_or_default(),
                error = invalid.error.as_str();
                "an OrderService cannot be read: is the CRD newer than the operator?"
            );
            None
        }
    };
    Some(match event {
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
        Event::InitApply(object) => Event::InitApply(read(object)?),
        Event::Apply(object) => Event::Apply(read(object)?),
        Event::Delete(object) => Event::Delete(read(object)?),
    })
}

fn broke_off(metrics: &Metrics, kind: &str, error: &watcher::Error) {
    metrics.watch_errors.with_label_values(&[kind]).inc();
    log::warn!(kind, error:% = error; "a watch broke off and is started again");
}
