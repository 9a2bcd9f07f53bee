//! The responses to probes and scrapes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::runtime::reflector::Store;
use parking_lot::Mutex;

use crate::cluster::watch_activity::WatchActivity;
use crate::crd::OrderService;
use crate::http::Response;
use crate::leader::Fence;
use crate::metrics::Metrics;
use crate::watch::MAX_WATCH_SILENCE;

/// A process that is not the leader becomes unready when the API server has been silent for this many lease
/// durations.
const UNREADY_AFTER_LEASES: u32 = 4;

/// The state that probes and scrapes report.
pub(crate) struct Health {
    metrics: Arc<Metrics>,
    watches: WatchActivity,
    fence: Fence,
    lease: Duration,
    store: Mutex<Option<Store<OrderService>>>,
    election: Mutex<ElectionAttempt>,
}

#[derive(Clone, Copy)]
struct ElectionAttempt {
    at: Instant,
    /// For how long the API server had not responded at that time.
    api_silence: Duration,
}

impl Health {
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        watches: WatchActivity,
        fence: Fence,
        lease: Duration,
    ) -> Self {
        let election = ElectionAttempt {
            at: Instant::now(),
            api_silence: Duration::ZERO,
        };
        Self {
            metrics,
            watches,
            fence,
            lease,
            store: Mutex::new(None),
            election: Mutex::new(election),
        }
    }

    /// Records that an election starts.
    pub(crate) fn election_started(&self) {
        self.election.lock().at = Instant::now();
    }

    /// Records an attempt of the election to acquire the Lease.
    pub(crate) fn election_attempted(&self, api_silence: Duration) {
        *self.election.lock() = ElectionAttempt {
            at: Instant::now(),
            api_silence,
        };
    }

    /// Records that this process leads, and that `store` holds the OrderServices.
    pub(crate) fn leadership_started(&self, store: Store<OrderService>) {
        *self.store.lock() = Some(store);
    }

    /// Records that this process does not lead any more.
    pub(crate) fn leadership_ended(&self) {
        *self.store.lock() = None;
        self.watches.clear();
    }

    /// Responds to `/healthz` and `/readyz`.
    pub(crate) fn probe(&self, path: &str) -> Response {
        let election = *self.election.lock();
        let (election_age, watch_age) = (election.at.elapsed(), self.watches.oldest_age());
        let unavailable = |text: String| Response::text("503 Service Unavailable", text);
        let leads = self.fence.allows_writes();
        match path {
            "/healthz" if leads && watch_age > MAX_WATCH_SILENCE => unavailable(format!(
                "a watch has been silent for {} s\n",
                watch_age.as_secs()
            )),
            "/healthz" if !leads && election_age > MAX_WATCH_SILENCE => {
                unavailable("the election makes no progress\n".to_owned())
            }
            "/readyz" if !leads && election.api_silence > self.lease * UNREADY_AFTER_LEASES => {
                unavailable("the API server does not respond\n".to_owned())
            }
            "/healthz" | "/readyz" => Response::text("200 OK", "ok\n"),
            _ => Response::text("404 Not Found", "/healthz or /readyz\n"),
        }
    }

    /// Responds to `/metrics`.
    pub(crate) fn scrape(&self, path: &str) -> Response {
        if path != "/metrics" {
            return Response::text("404 Not Found", "/metrics\n");
        }
        let leads = self.fence.allows_writes();
        self.metrics.leader.set(i64::from(leads));
        let age = self.watches.oldest_age();
        self.metrics.watch_age.set(age.as_secs_f64());
        self.count_objects();
        match self.metrics.encode() {
            Ok(body) => Response {
                status: "200 OK",
                content_type: "text/plain; version=0.0.4",
                body,
            },
            Err(error) => Response::text("500 Internal Server Error", format!("{error}\n")),
        }
    }

    fn count_objects(&self) {
        self.metrics.objects.reset();
        let store = self.store.lock().clone();
        for object in store.map(|store| store.state()).unwrap_or_default() {
            for condition in object.status.iter().flat_map(|status| &status.conditions) {
                let labels = [condition.type_.as_str(), condition.status.as_str()];
                self.metrics.objects.with_label_values(&labels).inc();
            }
        }
    }
}
