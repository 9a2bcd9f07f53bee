//! The running operator: the election, the controller while this process leads, probes and metrics.

use std::sync::Arc;

use kube::runtime::reflector;
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::cli::Settings;
use crate::cluster::connect::connect;
use crate::cluster::fence_layer::FenceLayer;
use crate::cluster::watch_activity::WatchActivity;
use crate::cluster::{Cluster, Recorder};
use crate::controller::{ControllerError, control};
use crate::fleet::{Fleet, Limits};
use crate::health::Health;
use crate::http;
use crate::leader::{Election, Fence, Timing};
use crate::logging::Log;
use crate::metrics::{Metrics, MetricsError};
use crate::reconcile::Context;
use crate::reconcile::digest_key::DigestKey;
use crate::watch::start::Scope;

/// Why the operator cannot start or continue.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A signal handler, an address or a thread is not available.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Two metrics have the same name.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// There is neither a kubeconfig nor a service account.
    #[error(transparent)]
    Config(#[from] kube::config::InferConfigError),
    /// The configuration of the client is not supported.
    #[error(transparent)]
    Client(#[from] kube::Error),
    /// The controller ended.
    #[error(transparent)]
    Controller(#[from] ControllerFailure),
}

/// The controller ended without a request to stop.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ControllerFailure(#[from] ControllerError);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start or cannot continue.
pub(crate) fn run(settings: &Settings, log: &Log) -> Result<(), ServeError> {
    // One thread: reconciles wait for the API server, not for the processor.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(settings, log))
}

async fn serve(settings: &Settings, log: &Log) -> Result<(), ServeError> {
    let mut stop = StopSignal::new()?;
    let metrics = Arc::new(Metrics::new()?);
    log.count_dropped(&metrics);
    let fence = Fence::default();
    let watches = WatchActivity::default();
    let health = Arc::new(Health::new(
        metrics.clone(),
        watches.clone(),
        fence.clone(),
        settings.lease_duration,
    ));
    let listener = TcpListener::bind(settings.health_address).await?;
    let state = health.clone();
    let probes = tokio::spawn(http::serve(listener, move |path| state.probe(path)));
    let listener = TcpListener::bind(settings.metrics_address).await?;
    let state = health.clone();
    let scrapes = tokio::spawn(http::serve(listener, move |path| state.scrape(path)));

    let layer = FenceLayer {
        fence: fence.clone(),
        watches: watches.clone(),
        metrics: metrics.clone(),
    };
    let client = connect(Config::infer().await?, &layer)?;
    let identity = identity(settings);
    log::info!(
        identity = identity.as_str(), version = env!("CARGO_PKG_VERSION"),
        namespace = settings.watched().unwrap_or("all");
        "started"
    );
    let timing = Timing {
        lease: settings.lease_duration,
    };
    let mut election = Election::new(
        client.clone(),
        &settings.pod_namespace,
        &settings.lease_name(),
        identity.clone(),
        timing,
        fence,
    );
    let result = loop {
        health.election_started();
        tokio::select! {
            () = election.acquire(|api_silence| health.election_attempted(api_silence)) => {}
            () = stop.requested() => break Ok(()),
        }
        log::info!("this process is the leader now");
        let leadership = Leadership {
            settings,
            client: &client,
            metrics: &metrics,
            watches: &watches,
            health: &health,
            identity: &identity,
        };
        match leadership.lead(&mut election, &mut stop).await {
            LeadershipEnd::Lost => log::warn!("this process is not the leader any more"),
            LeadershipEnd::StopRequested => break Ok(()),
            LeadershipEnd::Failed(error) => break Err(ControllerFailure(error).into()),
        }
    };
    election.release().await;
    probes.abort();
    scrapes.abort();
    log::info!("stopped");
    result
}

/// A period in which this process is the leader.
struct Leadership<'a> {
    settings: &'a Settings,
    client: &'a Client,
    metrics: &'a Arc<Metrics>,
    watches: &'a WatchActivity,
    health: &'a Health,
    identity: &'a str,
}

/// How the period ended.
enum LeadershipEnd {
    Lost,
    StopRequested,
    Failed(ControllerError),
}

impl Leadership<'_> {
    async fn lead(&self, election: &mut Election, stop: &mut StopSignal) -> LeadershipEnd {
        // A new context is created, because another process may have led meanwhile, so old records are not valid.
        let context = Arc::new(Context::new(
            Cluster::new(self.client.clone()),
            Recorder::new(self.client.clone(), self.identity.to_owned()),
            self.metrics.clone(),
            DigestKey::in_namespace(&self.settings.pod_namespace),
            self.settings.resync_period,
        ));
        context.records.fleet.limit(Limits {
            concurrent: self.settings.max_concurrent_rollouts.into(),
            failures: self.settings.max_failed_rollouts.into(),
        });
        let (store, writer) = reflector::store();
        self.health.leadership_started(store.clone());
        let (halt, halted) = oneshot::channel::<()>();
        let control = control(
            self.client.clone(),
            context,
            Scope(self.settings.watched().map(str::to_owned)),
            (store, writer),
            self.watches.clone(),
            self.settings.concurrency,
            async {
                // A dropped sender has the same meaning as a message.
                let _ = halted.await;
            },
        );
        let mut control = std::pin::pin!(control);
        let end = tokio::select! {
            ended = &mut control => {
                LeadershipEnd::Failed(ended.err().unwrap_or(ControllerError::Ended))
            }
            // Dropping the controller drops the requests in flight.
            () = election.renew() => LeadershipEnd::Lost,
            () = stop.requested() => {
                log::info!("stop requested: completing the running reconciles");
                // The receiver lives as long as the controller.
                let _ = halt.send(());
                tokio::select! {
                    _ = &mut control => {}
                    () = election.renew() => {}
                    () = tokio::time::sleep(self.settings.shutdown_timeout) => {}
                    () = stop.requested() => {}
                }
                LeadershipEnd::StopRequested
            }
        };
        self.health.leadership_ended();
        // The next leader counts its own.
        self.metrics.set_rollouts(Fleet::default().counts());
        end
    }
}

/// A name that no other process has, not even a previous process of the same pod.
fn identity(settings: &Settings) -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = settings.pod_name.clone().unwrap_or_else(host);
    let now = jiff::Timestamp::now().as_nanosecond();
    format!("{}_{:x}-{:x}", name.trim(), std::process::id(), now)
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
