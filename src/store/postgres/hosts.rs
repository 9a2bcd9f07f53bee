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
            match attempt.run(limit, left == 0).await {
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
    /// Looks the host up and tries each of its addresses. Only the last attempt of all may take longer
    /// than `limit`, if the URL says so.
    async fn run(&self, limit: Duration, last: bool) -> Result<RawConnection, String> {
        let (endpoint, end) = (self.endpoint, Instant::now() + limit);
        let look_up = timeout(self.limit(limit, last), endpoint.addresses()).await;
        let addresses = look_up
            .map_err(|_| format!("{endpoint}: the name was not looked up in time"))?
            .map_err(|error| format!("{endpoint}: {error}"))?;
        self.each(&addresses, end, last).await
    }

    /// Tries each address until then.
    async fn each(
        &self,
        addresses: &[Address],
        end: Instant,
        last: bool,
    ) -> Result<RawConnection, String> {
        let endpoint = self.endpoint;
        if addresses.is_empty() {
            return Err(format!("{endpoint}: the name has no address"));
        }
        let mut failures = Vec::new();
        for (i, address) in addresses.iter().enumerate() {
            let left = addresses.len() - i;
            let limit = self.limit(share(end, left), last && left == 1);
            let failure = match timeout(limit, self.connect_host(address)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => error,
                Err(_) => format!("no session within {limit:.1?}"),
            };
            let (name, address) = (endpoint.to_string(), address.to_string());
            failures.push(if name == address {
                format!("{name}: {failure}")
            } else {
                format!("{name} ({address}): {failure}")
            });
        }
        Err(failures.join("; "))
    }

    /// How long an attempt may take whose share of the time this is.
    fn limit(&self, share: Duration, last: bool) -> Duration {
        match self.target.connect_timeout {
            Some(own) if last => own,
            Some(own) => own.min(share),
            None => share,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DatabaseUrl;

    #[tokio::test]
    async fn every_address_of_a_host_is_tried() {
        let url = std::env::var("TEST_DATABASE_URL").expect(
            "TEST_DATABASE_URL names no PostgreSQL: run `make test`, or \
             `scripts/postgres.sh with cargo test`",
        );
        let target = Target::parse(&DatabaseUrl::parse(&url).unwrap()).unwrap();
        let [endpoint] = target.endpoints.as_slice() else {
            panic!("{:?}", target.endpoints);
        };
        // It accepts and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut addresses = vec![
            Address::Tcp(([127, 0, 0, 1], 1).into()),
            Address::Tcp(silent.local_addr().unwrap()),
        ];
        let tls = MakeRustlsConnect::new(target.tls.client_config().unwrap());
        let attempt = Attempt {
            target: &target,
            tls: &tls,
            endpoint,
            wanted: Wanted::Any,
        };
        let soon = || Instant::now() + Duration::from_secs(2);
        let error = attempt.each(&addresses, soon(), true).await.err().unwrap();
        for address in &addresses {
            assert!(error.contains(&address.to_string()), "{error}");
        }
        addresses.extend(endpoint.addresses().await.unwrap());
        assert!(attempt.each(&addresses, soon(), true).await.is_ok());
    }
}
