//! Tries the hosts of a URL in turn, each address of each, until one serves.
//!
//! An attempt is bounded as a whole: the look-up of the name, TCP, TLS, the login and the question
//! what the server is. So a host that accepts and says nothing does not keep the next from being
//! reached.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::session::Wanted;
use super::socket::{Address, Socket};
use super::url::{Endpoint, Place, Target};

/// A connection and what drives it.
pub(super) type RawConnection = (
    tokio_postgres::Client,
    tokio_postgres::Connection<Socket, RustlsStream>,
);
type RustlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// An attempt gets this long at least, however many others share the time.
const LEAST: Duration = Duration::from_millis(100);

/// Connects to the first host that serves and is what the URL asks for.
///
/// `patience` is for all attempts together, so that the last host is reached before the caller
/// gives up. `connect_timeout` of the URL shortens an attempt, and is what the last one gets.
///
/// # Errors
/// Why each attempt failed.
pub(super) async fn connect(target: &Target, patience: Duration) -> Result<RawConnection, String> {
    let tls = MakeRustlsConnect::new(target.tls.client_config()?);
    let end = Instant::now() + patience;
    let rounds = target.wanted.rounds();
    let mut failures = Vec::new();
    let mut left = rounds.len() * target.endpoints.len();
    for wanted in rounds {
        let mut endpoints: Vec<_> = target.endpoints.iter().collect();
        if target.shuffled {
            endpoints.sort_by_cached_key(|_| uuid::Uuid::new_v4());
        }
        for endpoint in endpoints {
            let limit = share(end, left);
            left -= 1;
            let attempt = Attempt {
                target,
                tls: &tls,
                endpoint,
                wanted: *wanted,
            };
            match attempt.each_address(limit, left == 0).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failures.push(error),
            }
        }
    }
    Err(failures.join("; "))
}

/// What is left until then, if `count` attempts share it evenly.
fn share(end: Instant, count: usize) -> Duration {
    let left = end.saturating_duration_since(Instant::now());
    (left / u32::try_from(count).unwrap_or(u32::MAX).max(1)).max(LEAST)
}

/// One host, in one round.
struct Attempt<'a> {
    target: &'a Target,
    tls: &'a MakeRustlsConnect,
    endpoint: &'a Endpoint,
    wanted: Wanted,
}

impl Attempt<'_> {
    /// Tries every address of the host. Only the last attempt of all may take longer than `limit`, if
    /// the URL says so.
    async fn each_address(
        &self,
        limit: Duration,
        last_host: bool,
    ) -> Result<RawConnection, String> {
        let (endpoint, own) = (self.endpoint, self.target.connect_timeout);
        let end = Instant::now() + limit;
        let bound = |share: Duration, last: bool| match own {
            Some(own) if last_host && last => own,
            Some(own) => own.min(share),
            None => share,
        };
        let look_up = timeout(bound(limit, true), endpoint.addresses()).await;
        let addresses = look_up
            .map_err(|_| format!("{endpoint}: the name was not looked up in time"))?
            .map_err(|error| format!("{endpoint}: {error}"))?;
        if addresses.is_empty() {
            return Err(format!("{endpoint}: the name has no address"));
        }
        let mut failures = Vec::new();
        for (i, address) in addresses.iter().enumerate() {
            let left = addresses.len() - i;
            let limit = bound(share(end, left), left == 1);
            let failure = match timeout(limit, self.connect_host(address)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => error,
                Err(_) => format!("no session within {limit:.1?}"),
            };
            failures.push(format!("{endpoint} ({address}): {failure}"));
        }
        Err(failures.join("; "))
    }

    /// Connects to one address, logs in, and asks whether the server is what the URL wants.
    async fn connect_host(&self, address: &Address) -> Result<RawConnection, String> {
        let (target, name) = (self.target, self.endpoint.name.as_str());
        let stream = Socket::open(address, &target.socket).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let mut config = target.config.clone();
        if let Address::Unix(_) = address {
            // As in libpq, TLS is not for Unix sockets.
            config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        }
        let Ok(tls) = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.tls.clone(), name);
        let (client, mut connection) = config
            .connect_raw(stream, tls)
            .await
            .map_err(|error| chain(&error))?;
        self.wanted.check(&client, &mut connection).await?;
        Ok((client, connection))
    }
}

impl Endpoint {
    async fn addresses(&self) -> std::io::Result<Vec<Address>> {
        match &self.place {
            Place::Address(ip) => Ok(vec![Address::Tcp((*ip, self.port).into())]),
            Place::Directory(path) => {
                let file = format!(".s.PGSQL.{}", self.port);
                Ok(vec![Address::Unix(path.join(file))])
            }
            Place::Name => {
                let found = tokio::net::lookup_host((self.name.as_str(), self.port)).await?;
                Ok(found.map(Address::Tcp).collect())
            }
        }
    }
}

/// An error with its causes: tokio-postgres keeps the telling part in the source.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
