//! The composition root: creates the parts of the service and runs them until they have drained.

mod limits;
mod listen;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use tokio::runtime::Handle;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, Anonymous, FileError, Scopes};
use crate::config::{LogFormat, Settings};
use crate::shutdown;
use crate::store::{Connector, MigrateOptions, Store, StoreError, describe_database_url};
use crate::telemetry::logging::Log;
use crate::telemetry::{Metrics, MetricsError};
use limits::limits;
use listen::{api_server, metrics_server};

/// Why the service could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot install the signal handlers: {0}")]
    Signals(#[source] io::Error),
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("cannot register the metrics: {0}")]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `AUTH_FILE` cannot be read or is not a policy.
    #[error("AUTH_FILE {0}")]
    AuthFile(#[from] FileError),
    /// The address of a setting cannot be bound.
    #[error("{setting} {address}: {source}")]
    Bind {
        setting: &'static str,
        address: SocketAddr,
        source: io::Error,
    },
    /// A server has stopped although the drain has not started.
    #[error("the {server} server stopped unexpectedly")]
    Stopped { server: &'static str },
    #[error("the {server} server stopped unexpectedly: {source}")]
    Failed {
        server: &'static str,
        source: io::Error,
    },
    #[error("the {server} server stopped unexpectedly: {source}")]
    Panicked {
        server: &'static str,
        source: JoinError,
    },
}

/// Runs the service until a signal stops it.
pub(crate) fn serve(settings: Settings, log: &Log) -> Result<(), ServeError> {
    let drain = CancellationToken::new();
    shutdown::listen(drain.clone()).map_err(ServeError::Signals)?;
    block_on(async move {
        let build = Application::build(settings, drain.clone(), log);
        let application = tokio::select! {
            application = build => application?,
            // A migration may wait for another process, and a signal must not wait for the migration.
            () = drain.cancelled() => return Ok(()),
        };
        application.announce();
        application.run().await
    })?
}

/// How long the end of [`block_on`] waits for blocking calls, such as the lookup of a host name.
const BLOCKING_CALLS_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs `work` on the main runtime, which is multi-threaded and part of Actix's system. Its arbiters run HTTP, and
/// this runtime runs the store.
///
/// A blocking call cannot be aborted, and the drop of a runtime waits for it. So the runtime is shut down with a
/// timeout, and a call that still hangs ends with the process.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("store")
        .build()
        .map(Arc::new)
        .map_err(ServeError::Runtime)?;
    let result = actix_rt::System::with_tokio_rt(|| Arc::clone(&runtime)).block_on(work);
    // The system has been dropped, so this is the last reference.
    if let Some(runtime) = Arc::into_inner(runtime) {
        runtime.shutdown_timeout(BLOCKING_CALLS_TIMEOUT);
    }
    Ok(result)
}

/// The service, bound to its ports but not serving yet.
struct Application {
    settings: Settings,
    store: Store,
    drain: CancellationToken,
    /// Cancelled when open connections must close.
    stopping: CancellationToken,
    api: Server,
    api_address: SocketAddr,
    metrics_server: Server,
    metrics_address: SocketAddr,
}

impl Application {
    /// Opens the store, migrates if the settings require it, and binds both ports.
    async fn build(
        settings: Settings,
        drain: CancellationToken,
        log: &Log,
    ) -> Result<Self, ServeError> {
        let metrics = Arc::new(Metrics::new()?);
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
        // Before the database is needed: a bad file must be reported even if the database does not respond.
        let access = Access::new(
            settings.anonymous(),
            settings.auth_file(),
            Arc::clone(&metrics),
        )
        .await?;
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
        let (api, api_address) = api_server(
            &settings, &store, &access, &drain, &stopping, limits.api, &metrics,
        )?;
        let (metrics_server, metrics_address) =
            metrics_server(&settings, &store, &access, limits.metrics, &metrics)?;
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

    /// Logs the addresses and the database. With the text format, which is the default at a terminal, also prints
    /// a banner.
    #[expect(
        clippy::print_stderr,
        reason = "the banner is for the person at the terminal"
    )]
    fn announce(&self) {
        let (api, metrics) = (self.api_address, self.metrics_address);
        let data = self.settings.database().describe(describe_database_url);
        self.warn_about_access();
        log::info!(api:% = api, metrics:% = metrics, database = data.as_str(); "serving");
        if self.settings.log_format() == LogFormat::Text {
            eprintln!(
                "\n  orders    http://{api}/api/v1/orders\
                 \n  docs      http://{api}/docs\
                 \n  metrics   http://{metrics}/metrics\
                 \n  data      {data}\
                 \n\n  Try:\
                 \n    curl -i http://{api}/api/v1/orders --json '{{\"product_id\": \"sku-1\", \"quantity\": 3}}'\
                 \n    curl http://{api}/api/v1/orders\
                 \n\n  Ctrl-C stops it.\n"
            );
        }
    }

    /// Warns about what others than this host can do.
    fn warn_about_access(&self) {
        if self.api_address.ip().is_loopback() {
            return;
        }
        if self.settings.auth_file().is_some() {
            log::warn!(
                "the API is served over plain HTTP: credentials from outside the cluster need TLS in front of it"
            );
        }
        let anonymous = self.settings.anonymous();
        if anonymous != Anonymous::Scopes(Scopes::NONE) {
            log::warn!(scopes:% = anonymous; "requests without credentials are served (AUTH_ANONYMOUS)");
        }
    }

    /// Serves until the drain starts, then finishes the requests in flight.
    async fn run(self) -> Result<(), ServeError> {
        let api_handle = self.api.handle();
        let metrics_handle = self.metrics_server.handle();
        // Started inside Actix's system, so that their workers are its arbiters. The API starts last, because its
        // clients must not occupy the descriptors that the worker of the metrics server needs to start.
        let mut metrics = actix_rt::spawn(self.metrics_server);
        let mut api = actix_rt::spawn(self.api);
        tokio::select! {
            () = self.drain.cancelled() => {}
            result = &mut api => return Err(stopped("API", result)),
            result = &mut metrics => return Err(stopped("metrics", result)),
        }
        // Endpoints and load balancers need some time to notice that the pod terminates. Until then the service
        // continues to serve, and `Connection: close` moves clients to other pods.
        tokio::time::sleep(self.settings.drain_delay).await;
        log::info!("no longer accepting connections; finishing the requests in flight");
        self.stopping.cancel();
        stop(&api_handle, self.settings.shutdown_timeout).await;
        // Accepted work may wait for a connection, and may run twice.
        let timeout = (self.settings.pool_acquire_timeout + self.settings.statement_timeout) * 2;
        if !self.store.close(timeout).await {
            log::warn!("stopping although some work in the database has not finished");
        }
        metrics_handle.stop(false).await;
        log::info!("ended");
        Ok(())
    }
}

/// Shuts the server down gracefully. Requests that are still in flight after `timeout` are aborted.
async fn stop(server: &ServerHandle, timeout: Duration) {
    if tokio::time::timeout(timeout, server.stop(true))
        .await
        .is_err()
    {
        log::warn!("requests were still in flight after SHUTDOWN_TIMEOUT");
    }
}

fn stopped(server: &'static str, result: Result<io::Result<()>, JoinError>) -> ServeError {
    match result {
        Ok(Ok(())) => ServeError::Stopped { server },
        Ok(Err(source)) => ServeError::Failed { server, source },
        Err(source) => ServeError::Panicked { server, source },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_blocking_call_that_hangs_does_not_delay_the_end() {
        let (release, hangs) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || {
            let result = block_on(async {
                let (begun, begins) = tokio::sync::oneshot::channel();
                tokio::task::spawn_blocking(move || {
                    begun.send(()).unwrap();
                    let _ = hangs.recv();
                });
                begins.await.unwrap();
                7
            });
            ended.send(result.unwrap()).unwrap();
        });
        let result = end.recv_timeout(BLOCKING_CALLS_TIMEOUT + Duration::from_secs(10));
        drop(release);
        assert_eq!(result, Ok(7));
    }
}
