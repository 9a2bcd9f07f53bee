//! The subcommands. All except `serve` print a result for the user.

mod audit;
mod import;
mod maintain;

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::access::{ApiKeyRequest, NewApiKey, NoRandomNumbers};
use crate::api;
use crate::config::{ApiKeyArgs, Command, MigrateArgs, Settings};
use crate::import::ImportError;
use crate::server::{self, ServeError, block_on};
use crate::shutdown;
use crate::store::{Connector, MigrateOptions, StoreError};
use crate::telemetry::logging;

/// Less than the default timeout of a Kubernetes probe, which is 1 s.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_millis(900);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// The service could not start, or had to stop. The log already contains the error.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The database reported an error.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `migrate --check` found migrations that are not applied.
    #[error("pending: {}", .0.join(", "))]
    PendingMigrations(Vec<String>),
    /// The audit found violations. The report has them.
    #[error("the stored data is not consistent: {0} violations")]
    Inconsistent(u64),
    /// The local server does not respond.
    #[error("{address}: {source}")]
    Unreachable {
        /// The address of the server.
        address: SocketAddr,
        /// The error of the connection.
        source: io::Error,
    },
    /// The local server is not ready.
    #[error("not ready: {0}")]
    NotReady(String),
    /// No API key was made.
    #[error(transparent)]
    ApiKey(#[from] NoRandomNumbers),
    /// The OpenAPI document or a report cannot be written as JSON.
    #[error("the JSON of the result: {0}")]
    Document(#[from] serde_json::Error),
    /// The input of an import cannot be opened.
    #[error("{}: {source}", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// The error that the file system reports.
        source: io::Error,
    },
    /// Rejected lines would overwrite the input of an import.
    #[error("{}: rejected lines would overwrite the input", .0.display())]
    RejectsAreInput(PathBuf),
    /// An import ended before the end of its input.
    #[error("{0}; the chunks before are imported: run the same command again to continue")]
    Import(#[from] ImportError),
    /// Some lines of an import were rejected.
    #[error("{count} lines were rejected: see {}", path.display())]
    RejectedLines {
        /// How many.
        count: u64,
        /// The file with the lines and the reasons.
        path: PathBuf,
    },
    /// The result cannot be printed.
    #[error("standard output: {0}")]
    Output(#[source] io::Error),
    /// The system rejected what the command needs.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl CommandError {
    /// The exit code: 2 for a bad setting or argument, 3 when no connection to PostgreSQL can be opened or the SQLite
    /// file does not exist or may not be opened, else 1.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Serve(ServeError::AuthFile(_))
            | Self::Input { .. }
            | Self::RejectsAreInput(_) => 2,
            Self::Serve(ServeError::Store(error))
            | Self::Store(error)
            | Self::Import(ImportError::Store(error))
                if error.is_unreachable() =>
            {
                3
            }
            _ => 1,
        }
    }

    /// Prints on standard error why the command failed, unless the log already contains the error.
    fn report(&self) {
        if !matches!(self, Self::Serve(_)) {
            // If standard error is closed, nothing else can report it.
            let _ = writeln!(io::stderr(), "order-service: {self}");
        }
    }
}

type CommandResult = Result<(), CommandError>;

/// Runs a command. Returns the exit code of the process.
pub fn run(command: Command, settings: Settings) -> ExitCode {
    let result = match command {
        Command::Serve => serve(settings),
        Command::Audit(args) => audit::audit(&settings, args),
        Command::Migrate(args) => migrate(&settings, &args),
        Command::Maintain(args) => maintain::maintain(&settings, args),
        Command::Healthcheck => healthcheck(&settings),
        Command::Openapi => openapi(),
        Command::ApiKey(args) => api_key(&args),
        Command::Import(args) => import::import(&settings, &args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.report();
            error.exit_code().into()
        }
    }
}

/// Runs the service until a signal stops it.
fn serve(settings: Settings) -> CommandResult {
    let log = logging::init(settings.log_format(), &settings.rust_log)?;
    let served = server::serve(settings, &log);
    if let Err(error) = &served {
        // Logged, not printed: every line that a server writes to standard error is a log line.
        log::error!("{error}");
    }
    log.finish();
    Ok(served?)
}

/// Prints a text. A closed pipe is not an error: `head` closes it after the first lines.
fn print(text: &str) -> CommandResult {
    match print_all(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(()),
    }
}

fn print_all(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Applies pending migrations, or only lists them with `--check`.
fn migrate(settings: &Settings, args: &MigrateArgs) -> CommandResult {
    let log = logging::init(settings.log_format(), &settings.rust_log)?;
    let result = migrate_logged(settings, args);
    log.finish();
    result
}

fn migrate_logged(settings: &Settings, args: &MigrateArgs) -> CommandResult {
    shutdown::exit_on_signal()?;
    let connector = Connector::new(settings)?;
    if args.check {
        let pending = block_on(connector.pending(args.wait))??;
        if pending.is_empty() {
            return print("the schema is up to date");
        }
        return Err(CommandError::PendingMigrations(pending));
    }
    let options = MigrateOptions {
        wait: args.wait,
        lock_timeout: args.lock_timeout,
    };
    let applied = block_on(connector.migrate(options))??;
    if applied.is_empty() {
        print("nothing to do, the schema is up to date")
    } else {
        print(&format!("applied {}", applied.join(", ")))
    }
}

/// Checks whether the local server is ready.
fn healthcheck(settings: &Settings) -> CommandResult {
    let address = reachable(settings.bind_address);
    let mut stream = TcpStream::connect_timeout(&address, HEALTHCHECK_TIMEOUT)
        .map_err(|source| CommandError::Unreachable { address, source })?;
    stream.set_read_timeout(Some(HEALTHCHECK_TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    if response.starts_with("HTTP/1.1 200 ") {
        print("ready")
    } else {
        let body = response.split("\r\n\r\n").nth(1).unwrap_or_default();
        Err(CommandError::NotReady(body.to_owned()))
    }
}

/// The address to connect to for a bound address. The local host replaces an unspecified address.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

/// Makes an API key. Prints its entry for `AUTH_FILE` on standard output and the key alone on standard error, so that
/// the entry can be appended to the file without writing the key anywhere.
fn api_key(args: &ApiKeyArgs) -> CommandResult {
    let key = NewApiKey::generate(&ApiKeyRequest {
        id: &args.id,
        scopes: args.scopes,
        tenant: args.tenant.as_ref(),
        expires: args.expires,
    })?;
    // A key whose entry is lost is useless, so it is not shown if the pipe is closed.
    print_all(&key.entry).map_err(CommandError::Output)?;
    // An entry whose key nobody has is useless, so a failure is reported.
    writeln!(io::stderr(), "{}", key.credential)?;
    Ok(())
}

/// Prints the OpenAPI document.
fn openapi() -> CommandResult {
    print(api::DOCUMENT.trim_end())
}
