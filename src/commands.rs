//! The subcommands that do not serve. Each prints what a person wants to know.

#![expect(clippy::print_stdout, reason = "standard output is what these are for")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::api;
use crate::config::{MigrateArgs, Settings};
use crate::server::block_on;
use crate::shutdown;
use crate::store::{Connector, MigrateOptions};
use crate::telemetry::logging;

/// A probe of Kubernetes waits 1 s by default; this must tell before.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_millis(900);

/// What a command failed with: a sentence for standard error.
pub type CommandResult = Result<(), Box<dyn std::error::Error>>;

/// Applies pending migrations, or with `--check` only looks for them.
///
/// # Errors
/// When a migration fails or the database does not answer; with `--check` also when one is pending.
pub fn migrate(settings: &Settings, args: &MigrateArgs) -> CommandResult {
    logging::init(settings);
    shutdown::end_at_once()?;
    let connector = Connector::new(settings)?;
    if args.check {
        let pending = block_on(connector.pending(args.wait))??;
        if pending.is_empty() {
            println!("the schema is up to date");
            return Ok(());
        }
        return Err(format!("pending: {}", pending.join(", ")).into());
    }
    let options = MigrateOptions {
        wait: args.wait,
        lock_timeout: args.lock_timeout,
    };
    let applied = block_on(connector.migrate(options))??;
    if applied.is_empty() {
        println!("nothing to do, the schema is up to date");
    } else {
        println!("applied {}", applied.join(", "));
    }
    Ok(())
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
        println!("ready");
        Ok(())
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
/// When it cannot be written as JSON.
pub fn openapi() -> CommandResult {
    println!("{}", api::document()?);
    Ok(())
}
