//! The subcommands. All except `serve` print a result for the user.

use std::error::Error;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::api;
use crate::config::{MigrateArgs, Settings};
use crate::server::{self, block_on};
use crate::shutdown;
use crate::store::{Connector, MigrateOptions};
use crate::telemetry::logging;

/// Less than the default timeout of a Kubernetes probe, which is 1 s.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_millis(900);

/// The result of a command. The error is displayed as a sentence on standard error.
pub type CommandResult = Result<(), Box<dyn Error>>;

#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// The log already contains the error.
    #[error("see the log")]
    Logged,
    #[error("pending: {}", .0.join(", "))]
    PendingMigrations(Vec<String>),
    #[error("{address}: {source}")]
    Unreachable {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("not ready: {0}")]
    NotReady(String),
    #[error("standard output: {0}")]
    Output(#[source] io::Error),
}

/// Runs the service until a signal stops it.
///
/// # Errors
/// When it cannot start, or a server stops unexpectedly.
pub fn serve(settings: Settings) -> CommandResult {
    let log = logging::init(settings.log_format(), &settings.rust_log)?;
    let served = server::serve(settings, &log);
    if let Err(error) = &served {
        log::error!("{error}");
    }
    log.finish();
    // Logged, not printed: every line that a server writes to standard error is a log line.
    served.map_err(|_| CommandError::Logged.into())
}

/// Prints on standard error why a command failed, unless the log already contains the error.
pub fn report(error: &(dyn Error + 'static)) {
    if !matches!(error.downcast_ref(), Some(CommandError::Logged)) {
        // If standard error is closed, nothing else can report it.
        let _ = writeln!(io::stderr(), "order-service: {error}");
    }
}

/// Prints a text. A closed pipe is not an error: `head` closes it after the first lines.
fn print(text: &str) -> CommandResult {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CommandError::Output(error).into())
        }
        _ => Ok(()),
    }
}

/// Applies pending migrations, or only lists them with `--check`.
///
/// # Errors
/// When a migration fails or the database does not respond; with `--check` also when one is pending.
pub fn migrate(settings: &Settings, args: &MigrateArgs) -> CommandResult {
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
        return Err(CommandError::PendingMigrations(pending).into());
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
///
/// # Errors
/// When it does not respond or is not ready.
pub fn healthcheck(settings: &Settings) -> CommandResult {
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
        Err(CommandError::NotReady(body.to_owned()).into())
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

/// Prints the OpenAPI document.
///
/// # Errors
/// When it cannot be serialized as JSON, or standard output cannot be written.
pub fn openapi() -> CommandResult {
    print(&api::document()?)
}
