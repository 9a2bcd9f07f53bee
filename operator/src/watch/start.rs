//! Starts the watches.

use std::sync::Arc;

use kube::Client;
use kube::Resource as _;
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::Records;
use super::queue::Queue;
use super::streams::{follow_order_services, follow_owned};
use crate::build::labels::{MANAGED_BY, MANAGER};
use crate::cluster::Kind;
use crate::cluster::watch_activity::WatchActivity;
use crate::crd::OrderService;

/// The API server ends a watch after this time. The client abandons a watch that has not ended 5 s later.
const WATCH_TIMEOUT_SECONDS: u32 = 240;
/// Lists are read in pages, so that a large list does not determine the peak memory.
const LIST_PAGE_SIZE: u32 = 100;

/// The namespace that the operator watches, or `None` for all namespaces.
#[derive(Clone, Debug)]
pub(crate) struct Scope(pub(crate) Option<String>);

/// The state that the tasks that follow the watches share.
pub(crate) struct WatchStarter {
    pub(crate) client: Client,
    pub(crate) scope: Scope,
    pub(crate) records: Arc<Records>,
    pub(crate) store: Store<OrderService>,
    pub(crate) queue: Queue,
    pub(crate) watches: WatchActivity,
    /// Each resolves when a watch has listed its objects once.
    pub(crate) ready: Vec<oneshot::Receiver<()>>,
}

fn config() -> watcher::Config {
    watcher::Config::default()
        .timeout(WATCH_TIMEOUT_SECONDS)
        .page_size(LIST_PAGE_SIZE)
}

impl WatchStarter {
    /// Watches the metadata of the objects of a kind that the operator created.
    pub(crate) fn start(&mut self, tasks: &mut JoinSet<()>, kind: Kind) {
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
            self.records.clone(),
            self.store.clone(),
            self.queue.clone(),
            self.ready_sender(),
        ));
    }

    /// Watches OrderServices.
    pub(crate) fn start_order_services(
        &mut self,
        tasks: &mut JoinSet<()>,
        writer: Writer<OrderService>,
    ) {
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
            self.records.clone(),
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
