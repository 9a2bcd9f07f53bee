//! The subcommands. Those that do not serve print what a person wants to know.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::api;
use crate::config::{MigrateArgs, Settings};
use crate::server::{self, block_on};
use crate::shutdown;
use crate::store::{Connector, MigrateOptions};
use crate::telemetry::logging;

/// A probe of Kubernetes waits 1 s by default; this must tell before.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_millis(900);

/// What a command failed with: a sentence for standard error.
pub type CommandResult = Result<(), Box<dyn std::error::Error>>;

/// Runs the service until a signal ends it.
///
/// # Errors
/// When it cannot start, or a server ends by itself.
pub fn serve(settings: Settings) -> CommandResult {
    let log = logging::init(settings.log_format(), &settings.rust_log)?;
    let served = server::serve(settings, &log);
    if let Err(error) = &served {
        log::error!("{error}");
    }
    log.finish();
    // Logged, and not printed: every line of a server's standard error is a log line.
    served.map_err(|_| Logged.into())
}

/// Says on standard error why a command failed, unless that is in the log already.
pub fn complain(error: &(dyn std::error::Error + 'static)) {
    if !error.is::<Logged>() {
        // Nobody may be reading, and nothing else could be done about it.
        let _ = writeln!(io::stderr(), "order-service: {error}");
    }
}

/// A failure that is in the log.
#[derive(Debug)]
struct Logged;

impl std::fmt::Display for Logged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("see the log")
    }
}

impl std::error::Error for Logged {}

/// Prints a text. Whoever reads only the beginning of it, such as `head`, closes the pipe.
fn print(text: &str) -> CommandResult {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}").into())
        }
        _ => Ok(()),
    }
}

/// Applies pending migrations, or with `--check` only looks for them.
///
/// # Errors
/// When a migration fails or the database does not answer; with `--check` also when one is pending.
pub fn migrate(settings: &Settings, args: &MigrateArgs) -> CommandResult {
    let log = logging::init(settings.log_format(), &settings.rust_log)?;
    let result = migrate_logged(settings, args);
    log.finish();
    result
}

fn migrate_logged(settings: &Settings, args: &MigrateArgs) -> CommandResult {
    shutdown::end_at_once()?;
    let connector = Connector::new(settings)?;
    if args.check {
        let pending = block_on(connector.pending(args.wait))??;
        if pending.is_empty() {
            return print("the schema is up to date");
        }
        return Err(format!("pending: {}", pending.join(", ")).into());
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

/// Asks the local server whether it is ready.
///
/// # Errors
/// When it does not answer or is not ready.
pub fn healthcheck(settings: &Settings) -> CommandResult {
    let address = reachable(settings.bind_address);
    let mut stream = TcpStream::connect_timeout(&address, HEALTHCHECK_TIMEOUT)
        .map_err(|error| format!("{address}: {error}"))?;
    stream.set_read_timeout(Some(HEALTHCHECK_TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") {
        print("ready")
    } else {
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        Err(format!("not ready: {body}").into())
    }
}

/// An address to connect to for one that was bound: "any" addresses are not for connecting.
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
/// When it cannot be written as JSON, or standard output takes nothing.
pub fn openapi() -> CommandResult {
    print(&api::document()?)
}
