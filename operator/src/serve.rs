//! The whole process: the election, the controller while elected, probes and metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::runtime::reflector::{self, Store};
use kube::{Client, Config};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::cli::Settings;
use crate::cluster::connect::connect;
use crate::cluster::fence_layer::{FenceLayer, WatchActivity};
use crate::cluster::{Cluster, Recorder};
use crate::controller::{MAX_WATCH_SILENCE, Scope, control};
use crate::crd::OrderService;
use crate::http::{self, Response};
use crate::leader::{Election, Fence, Timing};
use crate::logging::Log;
use crate::metrics::Metrics;
use crate::reconcile::Context;
use crate::reconcile::digest_key::DigestKey;

// What ends the process.
type Failure = Box<dyn std::error::Error>;

/// What probes and scrapes look at.
struct Health {
    metrics: Arc<Metrics>,
    watches: WatchActivity,
    fence: Fence,
    store: Mutex<Option<Store<OrderService>>>,
    /// When the election last went round: the heartbeat of the process.
    last_election_attempt: Mutex<Instant>,
    /// For how long the API server had not answered by then.
    api_silence: Mutex<Duration>,
    lease: Duration,
}

/// Runs until told to stop.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub fn run(settings: &Settings, log: &Log) -> Result<(), Failure> {
    // One thread: reconciles wait for the API server, not for each other.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(settings, log))
}

async fn serve(settings: &Settings, log: &Log) -> Result<(), Failure> {
    let mut stop = StopSignal::new()?;
    let metrics = Arc::new(Metrics::new()?);
    log.count_dropped(&metrics);
    let fence = Fence::default();
    let watches = WatchActivity::default();
    let health_state = Arc::new(Health {
        metrics: metrics.clone(),
        watches: watches.clone(),
        fence: fence.clone(),
        store: Mutex::new(None),
        last_election_attempt: Mutex::new(Instant::now()),
        api_silence: Mutex::new(Duration::ZERO),
        lease: settings.lease_duration,
    });
    let listener = TcpListener::bind(settings.health_address).await?;
    let of = health_state.clone();
    let health = tokio::spawn(http::serve(listener, move |path| of.probe(path)));
    let listener = TcpListener::bind(settings.metrics_address).await?;
    let of = health_state.clone();
    let scrapes = tokio::spawn(http::serve(listener, move |path| of.scrape(path)));

    let guard = FenceLayer {
        fence: fence.clone(),
        watches: watches.clone(),
        metrics: metrics.clone(),
    };
    let client = connect(Config::infer().await?, &guard)?;
    let identity = identity(settings);
    log::info!(
        identity = identity.as_str(), version = env!("CARGO_PKG_VERSION"),
        namespace = settings.watched().unwrap_or("all");
        "started"
    );
    let timing = Timing {
        lease: settings.lease_duration,
    };
    let name = match settings.watched() {
        // Operators of different namespaces do not stand against each other.
        Some(namespace) => format!("order-operator-{namespace}"),
        None => "order-operator".to_owned(),
    };
    let mut election = Election::new(
        client.clone(),
        &settings.pod_namespace,
        &name,
        identity.clone(),
        timing,
        fence,
    );
    let result = loop {
        *health_state.last_election_attempt.lock() = Instant::now();
        tokio::select! {
            () = election.acquire(|api_silence| health_state.election_attempted(api_silence)) => {}
            () = stop.requested() => break Ok(()),
        }
        log::info!("this process is the leader now");
        let leadership = Leadership {
            settings,
            client: &client,
            health_state: &health_state,
            identity: &identity,
        };
        match leadership.lead(&mut election, &mut stop).await {
            LeadershipEnd::Lost => log::warn!("this process is not the leader any more"),
            LeadershipEnd::StopRequested => break Ok(()),
            LeadershipEnd::Failed(error) => break Err(error.into()),
        }
    };
    election.release().await;
    health.abort();
    scrapes.abort();
    log::info!("stopped");
    result
}

/// One time as the leader.
struct Leadership<'a> {
    settings: &'a Settings,
    client: &'a Client,
    health_state: &'a Arc<Health>,
    identity: &'a str,
}

/// How it ended.
enum LeadershipEnd {
    Lost,
    StopRequested,
    Failed(String),
}

impl Leadership<'_> {
    async fn lead(&self, election: &mut Election, stop: &mut StopSignal) -> LeadershipEnd {
        let Self {
            settings,
            client,
            health_state,
            identity,
        } = self;
        // Nothing is known any more: somebody else led meanwhile.
        let context = Arc::new(Context::new(
            Cluster::new((*client).clone()),
            Recorder::new((*client).clone(), (*identity).to_owned()),
            health_state.metrics.clone(),
            DigestKey::in_namespace(&settings.pod_namespace),
            settings.resync_period,
        ));
        let (store, writer) = reflector::store();
        *health_state.store.lock() = Some(store.clone());
        let (halt, halted) = oneshot::channel::<()>();
        let control = control(
            (*client).clone(),
            context,
            Scope(settings.watched().map(str::to_owned)),
            (store, writer),
            health_state.watches.clone(),
            settings.concurrency,
            async {
                // Told, or dropped: the end either way.
                let _ = halted.await;
            },
        );
        let mut control = std::pin::pin!(control);
        let ended = tokio::select! {
            ended = &mut control => LeadershipEnd::Failed(ended.err().unwrap_or_else(|| "the controller ended".to_owned())),
            // Dropping the controller drops the requests that are under way.
            () = election.renew() => LeadershipEnd::Lost,
            () = stop.requested() => {
                log::info!("told to stop: ending what is under way");
                // The receiver is there for as long as the controller is.
                let _ = halt.send(());
                tokio::select! {
                    _ = &mut control => {}
                    () = election.renew() => {}
                    () = tokio::time::sleep(settings.shutdown_timeout) => {}
                    () = stop.requested() => {}
                }
                LeadershipEnd::StopRequested
            }
        };
        *health_state.store.lock() = None;
        health_state.watches.clear();
        ended
    }
}

/// A name that no other process has, not even the one before in the same pod.
fn identity(settings: &Settings) -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = settings.pod_name.clone().unwrap_or_else(host);
    let now = jiff::Timestamp::now().as_nanosecond();
    format!("{}_{:x}-{:x}", name.trim(), std::process::id(), now)
}

impl Health {
    /// The election went round once more.
    fn election_attempted(&self, api_silence: Duration) {
        *self.last_election_attempt.lock() = Instant::now();
        *self.api_silence.lock() = api_silence;
    }

    fn probe(&self, path: &str) -> Response {
        let silent = self.last_election_attempt.lock().elapsed();
        let age = self.watches.oldest_age();
        match path {
            "/healthz" if self.fence.allows_writes() && age > MAX_WATCH_SILENCE => Response::text(
                "503 Service Unavailable",
                format!("a watch is silent for {} s\n", age.as_secs()),
            ),
            "/healthz" if !self.fence.allows_writes() && silent > MAX_WATCH_SILENCE => {
                Response::text("503 Service Unavailable", "the election stands still\n")
            }
            "/readyz"
                if !self.fence.allows_writes() && *self.api_silence.lock() > self.lease * 4 =>
            {
                Response::text(
                    "503 Service Unavailable",
                    "the API server does not answer\n",
                )
            }
            "/healthz" | "/readyz" => Response::text("200 OK", "ok\n"),
            _ => Response::text("404 Not Found", "/healthz or /readyz\n"),
        }
    }

    fn scrape(&self, path: &str) -> Response {
        if path != "/metrics" {
            return Response::text("404 Not Found", "/metrics\n");
        }
        self.metrics
            .leader
            .set(i64::from(self.fence.allows_writes()));
        self.metrics
            .watch_age
            .set(self.watches.oldest_age().as_secs_f64());
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

/// SIGTERM and SIGINT.
struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
