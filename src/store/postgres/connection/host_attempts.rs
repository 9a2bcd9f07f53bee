//! Tries the hosts of a URL in turn, each address of each, until one serves.
//!
//! An attempt is bounded as a whole: the look-up of the name, TCP, TLS, the login and the question
//! what the server is. So a host that accepts and says nothing does not keep the next from being
//! reached.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::super::url::{Endpoint, Place, Target};
use super::slots::Address;
use super::target_session_attrs::Wanted;

/// An attempt gets this long at least, however many others share the time.
const LEAST: Duration = Duration::from_millis(100);

/// What is done at one address.
pub(crate) trait Open: Sync {
    /// An open session.
    type Session: Send;

    /// Opens a session at one address of a host, with a server that is what is wanted.
    fn open(
        &self,
        endpoint: &Endpoint,
        address: &Address,
        wanted: Wanted,
    ) -> impl Future<Output = Result<Self::Session, String>> + Send;
}

/// Opens a session with the first host that serves and is what the URL asks for.
///
/// `patience` is for all attempts together, so that the last host is reached before the caller
/// gives up. `connect_timeout` of the URL shortens an attempt, and is what the last one gets.
///
/// # Errors
/// Why each attempt failed.
pub(crate) async fn connect<O: Open>(
    target: &Target,
    patience: Duration,
    opener: &O,
) -> Result<O::Session, String> {
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
                connect_timeout: target.connect_timeout,
                opener,
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
struct Attempt<'a, O> {
    connect_timeout: Option<Duration>,
    opener: &'a O,
    endpoint: &'a Endpoint,
    wanted: Wanted,
}

impl<O: Open> Attempt<'_, O> {
    /// Looks the host up and tries each of its addresses. Only the last attempt of all may take longer
    /// than `limit`, if the URL says so.
    async fn run(&self, limit: Duration, last: bool) -> Result<O::Session, String> {
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
    ) -> Result<O::Session, String> {
        let endpoint = self.endpoint;
        if addresses.is_empty() {
            return Err(format!("{endpoint}: the name has no address"));
        }
        let mut failures = Vec::new();
        for (i, address) in addresses.iter().enumerate() {
            let left = addresses.len() - i;
            let limit = self.limit(share(end, left), last && left == 1);
            let failure =
                match timeout(limit, self.opener.open(endpoint, address, self.wanted)).await {
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
        match self.connect_timeout {
            Some(own) if last => own,
            Some(own) => own.min(share),
            None => share,
        }
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;
    use tokio_postgres::{Client, NoTls};

    use super::*;
    use crate::config::DatabaseUrl;

    /// Logs in, and nothing else.
    struct Login(tokio_postgres::Config);

    impl Open for Login {
        type Session = Client;

        async fn open(&self, _: &Endpoint, address: &Address, _: Wanted) -> Result<Client, String> {
            let Address::Tcp(address) = address else {
                panic!("{address}");
            };
            let stream = TcpStream::connect(address).await;
            let stream = stream.map_err(|error| error.to_string())?;
            let connected = self.0.connect_raw(stream, NoTls).await;
            connected
                .map(|(client, _)| client)
                .map_err(|error| error.to_string())
        }
    }

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
        let attempt = Attempt {
            connect_timeout: target.connect_timeout,
            opener: &Login(target.config.clone()),
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
