//! Load on a service for a test that disturbs its database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::orders::{order, order_path};
use crate::support::server::Server;

/// Clients that create and read orders until [`Load::stop`].
pub(crate) struct Load {
    stopped: Arc<AtomicBool>,
    clients: JoinSet<()>,
    created: Arc<AtomicUsize>,
    /// Reads that got 200 within 2 s, and those that did not.
    served: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
}

impl Load {
    /// Starts the clients.
    pub(crate) async fn on(server: &Server) -> Self {
        let path = order_path(&server.create("sku-1").await);
        let mut load = Self {
            stopped: Arc::default(),
            clients: JoinSet::new(),
            created: Arc::default(),
            served: Arc::default(),
            failed: Arc::default(),
        };
        for _ in 0..6 {
            let (client, url) = (server.client.clone(), server.url("/api/v1/orders"));
            let (stopped, created) = (Arc::clone(&load.stopped), Arc::clone(&load.created));
            load.clients.spawn(async move {
                while !stopped.load(Ordering::SeqCst) {
                    let response = client.post(&url).json(&order("sku-2")).send().await;
                    match response.unwrap().status() {
                        201 => _ = created.fetch_add(1, Ordering::SeqCst),
                        503 => {}
                        other => panic!("{other}"),
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        for path in [path, "/api/v1/orders?limit=1".to_owned()] {
            let (client, url) = (server.client.clone(), server.url(&path));
            let (stopped, served, failed) = (
                Arc::clone(&load.stopped),
                Arc::clone(&load.served),
                Arc::clone(&load.failed),
            );
            load.clients.spawn(async move {
                while !stopped.load(Ordering::SeqCst) {
                    let start = Instant::now();
                    let status = client.get(&url).send().await.unwrap().status();
                    if status == 200 && start.elapsed() < Duration::from_secs(2) {
                        served.fetch_add(1, Ordering::SeqCst);
                    } else {
                        failed.fetch_add(1, Ordering::SeqCst);
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        }
        load
    }

    /// The number of orders created.
    pub(crate) fn created(&self) -> usize {
        self.created.load(Ordering::SeqCst)
    }

    /// The number of reads served.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    /// The numbers of reads served and failed since the last call.
    pub(crate) fn take_reads(&self) -> (usize, usize) {
        let take = |count: &AtomicUsize| count.swap(0, Ordering::SeqCst);
        (take(&self.served), take(&self.failed))
    }

    pub(crate) async fn stop(mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
    }
}
