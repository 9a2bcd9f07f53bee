//! Every setting, read from the environment or the command line. No other module reads either.
//!
//! A setting is an environment variable and a flag of the same name in kebab case
//! (`POOL_MAX_SIZE`, `--pool-max-size`); the flag wins.

mod access;
mod api_key;
mod audit;
mod database;
mod import;
mod maintain;
mod retention;
mod url;
mod values;

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use access::OpenByMistake;
pub use api_key::ApiKeyArgs;
pub use audit::AuditArgs;
pub use database::{CheckUrl, DatabaseSource, DescribeUrl, UrlError, UrlSetting};
pub use import::ImportArgs;
pub use maintain::MaintainArgs;
pub use order_logging::LogFormat;
pub use retention::Retention;
pub use url::{DatabaseKind, DatabaseUrl, TlsDefaults, UnknownScheme};
use values::{any_duration, at_least_one, positive_duration, socket_address};

use crate::access::Anonymous;

/// An orders API for Kubernetes.
///
/// Without a command it serves. Every option can be given as an environment variable, too.
#[derive(Debug, Parser)]
#[command(name = "order-service", version, max_term_width = 100)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

/// What the program can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the API server and the metrics server (the default)
    Serve,
    /// Apply pending migrations under a lock, then exit
    Migrate(MigrateArgs),
    /// Prepare partitions, apply retention and archive old orders, once, then exit
    Maintain(MaintainArgs),
    /// GET /readyz of the local server; exit 0 when it is ready, 1 when it is not
    Healthcheck,
    /// Print the OpenAPI 3.1 document
    Openapi,
    /// Check that the stored data is consistent; print a report in JSON; exit 1 if it is not
    Audit(AuditArgs),
    /// Make an API key; print its entry for AUTH_FILE on standard output and the key on standard error
    ApiKey(ApiKeyArgs),
    /// Load orders from a file of JSON lines, such as an export
    Import(ImportArgs),
}

/// How to migrate.
#[derive(Clone, Debug, Args)]
pub struct MigrateArgs {
    /// Change nothing; exit 1 if a migration is pending
    #[arg(long)]
    pub check: bool,
    /// How long to retry until the database responds
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = any_duration)]
    pub wait: Duration,
    /// How long a migration may wait for a lock before it fails, so that it does not block others for long
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive_duration)]
    pub lock_timeout: Duration,
}

/// Every setting of the service.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct Settings {
    #[command(flatten)]
    pub(crate) database: database::DatabaseArgs,
    #[command(flatten)]
    pub(crate) access: access::AccessArgs,
    /// Address of the API; port 0 takes a free one
    #[arg(long, env, default_value = "127.0.0.1:8080", value_parser = socket_address)]
    pub bind_address: SocketAddr,
    /// Address of the metrics; port 0 takes a free one
    #[arg(long, env, default_value = "127.0.0.1:9090", value_parser = socket_address)]
    pub metrics_address: SocketAddr,
    /// HTTP workers, one thread each [default: the CPUs this process may use]
    #[arg(long, env, value_parser = at_least_one)]
    workers: Option<NonZeroUsize>,
    /// Maximum number of database connections of this process
    #[arg(long, env, default_value = "20", value_parser = at_least_one)]
    pub pool_max_size: NonZeroUsize,
    /// Database connections kept open when idle [default: 5, or POOL_MAX_SIZE if that is less]
    #[arg(long, env, value_parser = values::whole_number)]
    pool_min_idle: Option<usize>,
    /// How long work may wait for a database connection
    #[arg(long, env, default_value = "5s", value_parser = positive_duration)]
    pub pool_acquire_timeout: Duration,
    /// A connection idle for longer is closed, down to POOL_MIN_IDLE
    #[arg(long, env, default_value = "300s", value_parser = positive_duration)]
    pub pool_idle_timeout: Duration,
    /// A connection is replaced at this age (less up to a tenth, so that not all are replaced at once)
    #[arg(long, env, default_value = "1800s", value_parser = positive_duration)]
    pub pool_max_lifetime: Duration,
    /// Maximum duration of one statement in the database
    #[arg(long, env, default_value = "5s", value_parser = positive_duration)]
    pub statement_timeout: Duration,
    /// Maximum duration of a request; above it, 503
    #[arg(long, env, default_value = "10s", value_parser = positive_duration)]
    pub request_timeout: Duration,
    /// Largest request body in bytes, except that of a batch; past it 413
    #[arg(long, env, default_value = "65536", value_parser = at_least_one)]
    pub max_body_bytes: NonZeroUsize,
    /// Requests that may wait for the database; above it, 503 at once
    #[arg(long, env, default_value = "4096", value_parser = at_least_one)]
    pub queue_capacity: NonZeroUsize,
    /// Most client connections, as far as the limit of file descriptors allows
    #[arg(long, env, default_value = "8192", value_parser = at_least_one)]
    pub max_connections: NonZeroUsize,
    /// Bytes of responses that may wait for their clients; above it, 503
    #[arg(long, env, default_value = "33554432", value_parser = at_least_one)]
    pub response_buffer_bytes: NonZeroUsize,
    /// Open event streams and exports; above it, 503
    #[arg(long, env, default_value = "1000", value_parser = at_least_one)]
    pub max_streams: NonZeroUsize,
    /// Requests per second of each caller; above it, 429 [default: unlimited]
    #[arg(long, env, value_parser = values::rate)]
    pub rate_limit: Option<NonZeroU32>,
    /// Requests that a caller may send at once within RATE_LIMIT [default: RATE_LIMIT]
    #[arg(long, env, value_parser = values::rate)]
    rate_burst: Option<NonZeroU32>,
    #[command(flatten)]
    pub(crate) retention: Retention,
    /// Apply pending migrations before serving [default: true for SQLite, false for PostgreSQL]
    #[arg(long, env)]
    migrate_on_start: Option<bool>,
    /// How long to keep accepting after SIGTERM, while /readyz returns 503
    #[arg(long, env, default_value = "0s", value_parser = any_duration)]
    pub drain_delay: Duration,
    /// How long requests in flight may take to finish after that
    #[arg(long, env, default_value = "20s", value_parser = any_duration)]
    pub shutdown_timeout: Duration,
    /// Form of the log lines [default: text on a terminal, else json]
    #[arg(long, env)]
    log_format: Option<LogFormat>,
    /// What to log: a level, or `target=level` items separated by commas
    #[arg(long, env, default_value = "info", value_parser = values::log_filter)]
    pub rust_log: String,
}

impl Cli {
    /// Reads the command line and the environment. For an invalid value, prints the name of the variable and the
    /// values that it takes, and exits with code 2. `check` is the store's check of the database URL.
    pub fn read(check: CheckUrl) -> (Command, Settings) {
        Self::read_from(std::env::args_os(), check).unwrap_or_else(|error| error.exit())
    }

    /// Like `read`, but with the given arguments, of which the first is the name of the program. An empty variable
    /// counts as unset.
    ///
    /// # Errors
    /// The message that `read` prints.
    pub fn read_from<T: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = T>,
        check: CheckUrl,
    ) -> Result<(Command, Settings), clap::Error> {
        let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
        let mut definition = Self::command().mut_args(|arg| {
            let unset = arg.get_env().is_some_and(is_empty);
            // Otherwise `--help` shows the values of variables, which may be secrets.
            let arg = arg.global(true).hide_env_values(true);
            if unset {
                arg.env(Resettable::Reset)
            } else {
                arg
            }
        });
        let cli = definition
            .try_get_matches_from_mut(args)
            .and_then(|matches| Self::from_arg_matches(&matches))?;
        let command = cli.command.unwrap_or(Command::Serve);
        cli.settings
            .check(&command, check)
            .map_err(|error| definition.error(ErrorKind::ValueValidation, error))?;
        Ok((command, cli.settings))
    }
}

/// Settings that are each well-formed but cannot be used.
#[derive(Debug, thiserror::Error)]
enum SettingsError {
    #[error("POOL_MIN_IDLE ({min_idle}) must not be larger than POOL_MAX_SIZE ({max_size})")]
    PoolSize {
        min_idle: usize,
        max_size: NonZeroUsize,
    },
    #[error("RATE_BURST has no effect without RATE_LIMIT: set both or neither")]
    BurstWithoutLimit,
    #[error(transparent)]
    Maintain(#[from] maintain::MaintainError),
    #[error(transparent)]
    DatabaseUrl(#[from] UrlError),
    #[error(transparent)]
    OpenByMistake(#[from] OpenByMistake),
}

impl Settings {
    /// Rejects settings that contradict each other, and an invalid database URL. clap does not check the URL,
    /// because it would print the secret in it.
    fn check(&self, command: &Command, check: CheckUrl) -> Result<(), SettingsError> {
        if self.pool_min_idle() > self.pool_max_size.get() {
            return Err(SettingsError::PoolSize {
                min_idle: self.pool_min_idle(),
                max_size: self.pool_max_size,
            });
        }
        if self.rate_burst.is_some() && self.rate_limit.is_none() {
            return Err(SettingsError::BurstWithoutLimit);
        }
        match command {
            Command::Serve => {
                self.access.check(self.bind_address)?;
                self.database().check(check)?;
            }
            Command::Audit(_) | Command::Import(_) | Command::Migrate(_) => {
                self.database().check(check)?;
            }
            Command::Maintain(args) => {
                let database = self.database();
                database.check(check)?;
                args.check(&self.retention, &database.url()?)?;
            }
            Command::ApiKey(_) | Command::Healthcheck | Command::Openapi => {}
        }
        Ok(())
    }

    /// The number of database connections that are kept open when idle.
    pub fn pool_min_idle(&self) -> usize {
        self.pool_min_idle
            .unwrap_or_else(|| self.pool_max_size.get().min(5))
    }

    /// The requests that each caller may send at once and per second, if they are limited.
    pub fn burst_and_rate(&self) -> Option<(NonZeroU32, NonZeroU32)> {
        let rate = self.rate_limit?;
        Some((self.rate_burst.unwrap_or(rate), rate))
    }

    /// The source of the database URL.
    pub fn database(&self) -> DatabaseSource {
        self.database.source()
    }

    /// The file that declares who may call.
    pub(crate) fn auth_file(&self) -> Option<PathBuf> {
        self.access.file()
    }

    /// What requests without credentials may do.
    pub(crate) fn anonymous(&self) -> Anonymous {
        self.access.anonymous(self.bind_address)
    }

    /// The number of HTTP workers: the configured number, or the CPUs that this process may use (cgroup quota and
    /// affinity).
    pub fn workers(&self) -> usize {
        self.workers
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, NonZeroUsize::get)
    }

    /// The format of the log lines: the configured format, or text if standard error is a terminal.
    pub fn log_format(&self) -> LogFormat {
        self.log_format.unwrap_or_else(LogFormat::of_stderr)
    }

    /// Whether pending migrations are applied before serving.
    pub fn migrate_on_start(&self, kind: DatabaseKind) -> bool {
        self.migrate_on_start
            .unwrap_or(matches!(kind, DatabaseKind::Sqlite))
    }

    /// Returns the effective value of every setting, without secrets.
    pub fn resolved(
        &self,
        kind: DatabaseKind,
        describe: DescribeUrl,
    ) -> Vec<(&'static str, String)> {
        // No `..`, so that a new setting that is missing here does not compile.
        let Self {
            database,
            access,
            bind_address,
            metrics_address,
            workers: _,
            pool_max_size,
            pool_min_idle: _,
            pool_acquire_timeout,
            pool_idle_timeout,
            pool_max_lifetime,
            statement_timeout,
            request_timeout,
            max_body_bytes,
            queue_capacity,
            max_connections,
            response_buffer_bytes,
            max_streams,
            rate_limit: _,
            rate_burst: _,
            retention,
            migrate_on_start: _,
            drain_delay,
            shutdown_timeout,
            log_format: _,
            rust_log,
        } = self;
        let time = |duration: &Duration| humantime::format_duration(*duration).to_string();
        let source = database.source();
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (burst, rate) = self.burst_and_rate().unzip();
        let limit = |limit: Option<NonZeroU32>| {
            limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
        };
        let format = match self.log_format() {
            LogFormat::Json => "json",
            LogFormat::Text => "text",
        };
        let mut resolved = vec![
            ("database_url", source.describe(describe)),
            ("database_url_file", source.file_display()),
            ("database_sslmode", text(&database.database_sslmode)),
            ("database_sslrootcert", text(&database.database_sslrootcert)),
            ("database_sslcert", text(&database.database_sslcert)),
            ("database_sslkey", text(&database.database_sslkey)),
            ("bind_address", bind_address.to_string()),
            ("auth_file", access.file_display()),
            ("auth_anonymous", self.anonymous().to_string()),
            ("metrics_address", metrics_address.to_string()),
            ("workers", self.workers().to_string()),
            ("pool_max_size", pool_max_size.to_string()),
            ("pool_min_idle", self.pool_min_idle().to_string()),
            ("pool_acquire_timeout", time(pool_acquire_timeout)),
            ("pool_idle_timeout", time(pool_idle_timeout)),
            ("pool_max_lifetime", time(pool_max_lifetime)),
            ("statement_timeout", time(statement_timeout)),
            ("request_timeout", time(request_timeout)),
            ("max_body_bytes", max_body_bytes.to_string()),
            ("queue_capacity", queue_capacity.to_string()),
            ("max_connections", max_connections.to_string()),
            ("response_buffer_bytes", response_buffer_bytes.to_string()),
            ("max_streams", max_streams.to_string()),
            ("rate_limit", limit(rate)),
            ("rate_burst", limit(burst)),
            ("migrate_on_start", self.migrate_on_start(kind).to_string()),
            ("drain_delay", time(drain_delay)),
            ("shutdown_timeout", time(shutdown_timeout)),
            ("log_format", format.to_owned()),
            ("rust_log", rust_log.clone()),
        ];
        resolved.extend(retention.resolved());
        resolved
    }
}

#[cfg(test)]
mod tests;
