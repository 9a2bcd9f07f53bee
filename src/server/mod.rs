//! Puts the parts together and runs them from the first bind to the last answer.

pub(crate) mod limits;
mod listen;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::config::{LogFormat, Settings};
use crate::shutdown;
use crate::store::{Connector, MigrateOptions, Store, StoreError, describe_database_url};
use crate::telemetry::Metrics;
use crate::telemetry::logging::Log;
use limits::limits;
use listen::{api_server, metrics_server};

/// Why the service could not start or had to end.
#[derive(Debug)]
pub struct ServeError(String);

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServeError {}

impl From<StoreError> for ServeError {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

fn failed(what: impl fmt::Display) -> impl FnOnce(&dyn fmt::Display) -> ServeError {
    move |error| ServeError(format!("{what}: {error}"))
}

/// Runs the service until a signal ends it.
///
/// # Errors
/// When it cannot start, or a server ends by itself.
pub fn serve(settings: Settings, log: &Log) -> Result<(), ServeError> {
    let drain = CancellationToken::new();
    shutdown::listen(drain.clone()).map_err(|e| failed("signal handlers")(&e))?;
    block_on(async move {
        let build = Application::build(settings, drain.clone(), log);
        let application = tokio::select! {
            application = build => application?,
            // A migration may wait for another process; whoever ends this one need not.
            () = drain.cancelled() => return Ok(()),
        };
        application.welcome();
        application.run().await
    })?
}

/// Runs `work` on the main runtime: multi-threaded, and joined to Actix's system, so that the
/// arbiters run HTTP and this one the store.
///
/// # Errors
/// When the runtime cannot be built.
pub fn block_on<T>(work: impl Future<Output = T>) -> Result<T, ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("store")
        .build()
        .map_err(|e| failed("runtime")(&e))?;
    Ok(actix_rt::System::with_tokio_rt(|| runtime).block_on(work))
}

/// The service, bound to its ports and not yet serving.
pub struct Application {
    settings: Settings,
    store: Store,
    drain: CancellationToken,
    /// Tells open connections that the server stops.
    stopping: CancellationToken,
    api: Server,
    api_address: SocketAddr,
    metrics_server: Server,
    metrics_address: SocketAddr,
}

impl Application {
    /// Opens the store, migrates if the settings say so, and binds both ports.
    ///
    /// # Errors
    /// When a port is taken or a migration fails.
    pub async fn build(
        settings: Settings,
        drain: CancellationToken,
        log: &Log,
    ) -> Result<Self, ServeError> {
        let metrics = Arc::new(Metrics::new().map_err(|e| failed("metrics")(&e))?);
        log.count_dropped(&metrics);
        log.catch_panics(Arc::clone(&metrics));
        let connector = Connector::new(&settings)?;
        let resolved = settings.resolved(connector.kind(), describe_database_url);
        let fields: Vec<_> = resolved.iter().map(|(k, v)| (*k, v.as_str())).collect();
        log::logger().log(
            &log::Record::builder()
                .args(format_args!("starting"))
                .level(log::Level::Info)
                .target(module_path!())
                .key_values(&fields)
                .build(),
        );
        if settings.migrate_on_start(connector.kind()) {
            connector.migrate(MigrateOptions::default()).await?;
        }
        let store = Store::new(
            connector,
            &settings,
            Arc::clone(&metrics),
            Handle::current(),
        )?;
        let stopping = CancellationToken::new();
        let limits = limits(&settings);
        let (api, api_address) =
            api_server(&settings, &store, &drain, &stopping, limits.api, &metrics)?;
        let (metrics_server, metrics_address) =
            metrics_server(&settings, &store, limits.metrics, &metrics)?;
        Ok(Self {
            settings,
            store,
            drain,
            stopping,
            api,
            api_address,
            metrics_server,
            metrics_address,
        })
    }

    /// Where the API listens.
    pub fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// Where the metrics listen.
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics_address
    }

    /// Says where the service listens, where its data is and what to try.
    #[expect(
        clippy::print_stderr,
        reason = "a greeting for the person at the terminal"
    )]
    fn welcome(&self) {
        let (api, metrics) = (self.api_address, self.metrics_address);
        let data = self.settings.database().describe(describe_database_url);
        log::info!(api:% = api, metrics:% = metrics, database = data.as_str(); "serving");
        if self.settings.log_format() == LogFormat::Text {
            eprintln!(
                "\n  orders    http://{api}/api/v1/orders\
                 \n  metrics   http://{metrics}/metrics\
                 \n  data      {data}\
                 \n\n  Try:\
                 \n    curl -i http://{api}/api/v1/orders --json '{{\"product_id\": \"sku-1\", \"quantity\": 3}}'\
                 \n    curl http://{api}/api/v1/orders\
                 \n\n  Ctrl-C ends it.\n"
            );
        }
    }

    /// Serves until the drain starts, then finishes what is in flight.
    ///
    /// # Errors
    /// When a server ends by itself.
    pub async fn run(self) -> Result<(), ServeError> {
        let api_handle = self.api.handle();
        let metrics_handle = self.metrics_server.handle();
        // Started inside Actix's system, so that their workers are its arbiters. The API comes last: its
        // clients must not take the descriptors that the worker of the other needs to start.
        let mut metrics = actix_rt::spawn(self.metrics_server);
        let mut api = actix_rt::spawn(self.api);
        tokio::select! {
            () = self.drain.cancelled() => {}
            ended = &mut api => return Err(ended_early("API", ended)),
            ended = &mut metrics => return Err(ended_early("metrics", ended)),
        }
        // Endpoints and load balancers need a while to notice that this pod is leaving. Until
        // then it answers as before, and `Connection: close` sends clients elsewhere.
        tokio::time::sleep(self.settings.drain_delay).await;
        log::info!("no longer accepting; finishing what is in flight");
        self.stopping.cancel();
        stop(&api_handle, self.settings.shutdown_timeout).await;
        // Accepted work is bounded: it may wait for a connection and be done twice.
        let bound = (self.settings.pool_acquire_timeout + self.settings.statement_timeout) * 2;
        if !self.store.close(bound).await {
            log::warn!("ending although the database has not finished all work");
        }
        metrics_handle.stop(false).await;
        log::info!("ended");
        Ok(())
    }
}

/// Stops gracefully; what is still in flight after `timeout` is cut off.
async fn stop(server: &ServerHandle, timeout: Duration) {
    if tokio::time::timeout(timeout, server.stop(true))
        .await
        .is_err()
    {
        log::warn!("requests were still in flight at the end of SHUTDOWN_TIMEOUT");
    }
}

fn ended_early(
    name: &str,
    ended: Result<std::io::Result<()>, tokio::task::JoinError>,
) -> ServeError {
    let why = match ended {
        Ok(Ok(())) => "no reason given".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    ServeError(format!("the {name} server ended by itself: {why}"))
}
