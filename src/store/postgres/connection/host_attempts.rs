//! Tries the hosts of a URL, and each address of each host, until a session is open.
//!
//! tokio-postgres could try the hosts itself, but its `connect_timeout` covers TCP only: a host that accepts a
//! connection and then sends nothing would keep the next host from being tried. In this module, the timeout of an
//! attempt covers the look-up of the name, TCP, TLS, the login and the check of `target_session_attrs`.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::error::{HostError, HostsError, SessionError};
use super::slots::Address;
use super::target_session_attrs::TargetSessionAttrs;
use crate::store::postgres::url::{Endpoint, Host, Target};

/// The minimum timeout of an attempt, however many others share the time.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// Opens a session at one address.
pub(super) trait OpenSession: Sync {
    type Session: Send;

    /// Opens a session with a server of the kind `attrs` at one address of the endpoint.
    fn open(
        &self,
        endpoint: &Endpoint,
        address: &Address,
        attrs: TargetSessionAttrs,
    ) -> impl Future<Output = Result<Self::Session, SessionError>> + Send;
}

/// Opens a session with the first host that responds and is of the kind that the URL requires.
///
/// `total_timeout` covers all attempts together, so that the last host is tried before the caller gives up. The
/// URL's `connect_timeout` shortens an attempt, and is the timeout of the last one.
///
/// # Errors
/// The error of each attempt.
pub(super) async fn connect<O: OpenSession>(
    target: &Target,
    total_timeout: Duration,
    opener: &O,
) -> Result<O::Session, HostsError> {
    let deadline = Instant::now() + total_timeout;
    let rounds = target.session_attrs.rounds();
    let mut errors = Vec::new();
    let mut left = rounds.len() * target.endpoints.len();
    for attrs in rounds {
        let mut endpoints: Vec<_> = target.endpoints.iter().collect();
        if target.random_order {
            endpoints.sort_by_cached_key(|_| uuid::Uuid::new_v4());
        }
        for endpoint in endpoints {
            let share = share_until(deadline, left);
            left -= 1;
            let attempt = HostAttempt {
                connect_timeout: target.connect_timeout,
                opener,
                endpoint,
                attrs: *attrs,
            };
            match attempt.run(share, left == 0).await {
                Ok(session) => return Ok(session),
                Err(failed) => errors.extend(failed),
            }
        }
    }
    Err(HostsError(errors))
}

/// An equal share of the time until the deadline for each of `count` attempts.
fn share_until(deadline: Instant, count: usize) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    (left / u32::try_from(count).unwrap_or(u32::MAX).max(1)).max(MIN_TIMEOUT)
}

/// An attempt at one host in one round.
struct HostAttempt<'a, O> {
    connect_timeout: Option<Duration>,
    opener: &'a O,
    endpoint: &'a Endpoint,
    attrs: TargetSessionAttrs,
}

impl<O: OpenSession> HostAttempt<'_, O> {
    /// Looks the host up and tries each of its addresses.
    async fn run(&self, share: Duration, last: bool) -> Result<O::Session, Vec<HostError>> {
        let (endpoint, deadline) = (self.endpoint, Instant::now() + share);
        let addresses = match timeout(self.timeout(share, last), endpoint.addresses()).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(source)) => {
                let endpoint = endpoint.clone();
                return Err(vec![HostError::LookUp { endpoint, source }]);
            }
            Err(_) => return Err(vec![HostError::LookUpTimeout(endpoint.clone())]),
        };
        self.try_addresses(&addresses, deadline, last).await
    }

    async fn try_addresses(
        &self,
        addresses: &[Address],
        deadline: Instant,
        last: bool,
    ) -> Result<O::Session, Vec<HostError>> {
        if addresses.is_empty() {
            return Err(vec![HostError::NoAddress(self.endpoint.clone())]);
        }
        let mut errors = Vec::new();
        for (i, address) in addresses.iter().enumerate() {
            let left = addresses.len() - i;
            let limit = self.timeout(share_until(deadline, left), last && left == 1);
            let opening = self.opener.open(self.endpoint, address, self.attrs);
            let source = match timeout(limit, opening).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error)) => error,
                Err(_) => SessionError::Timeout(limit),
            };
            errors.push(HostError::Session {
                endpoint: self.endpoint.clone(),
                address: address.clone(),
                source,
            });
        }
        Err(errors)
    }

    /// The timeout of an attempt with this share of the time. Only the last attempt of all may exceed
    /// its share, if `connect_timeout` is longer.
    fn timeout(&self, share: Duration, last: bool) -> Duration {
        match self.connect_timeout {
            Some(limit) if last => limit,
            Some(limit) => limit.min(share),
            None => share,
        }
    }
}

impl Endpoint {
    async fn addresses(&self) -> std::io::Result<Vec<Address>> {
        match &self.host {
            Host::Address(ip) => Ok(vec![Address::Tcp((*ip, self.port).into())]),
            Host::Directory(path) => {
                let file = format!(".s.PGSQL.{}", self.port);
                Ok(vec![Address::Unix(path.join(file))])
            }
            Host::Name => {
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
    use crate::store::postgres::connection::error::PostgresError;

    /// Opens a session that no task drives.
    struct Login(tokio_postgres::Config);

    impl OpenSession for Login {
        type Session = Client;

        async fn open(
            &self,
            _: &Endpoint,
            address: &Address,
            _: TargetSessionAttrs,
        ) -> Result<Client, SessionError> {
            let Address::Tcp(address) = address else {
                panic!("{address}");
            };
            let stream = TcpStream::connect(address).await?;
            let connected = self.0.connect_raw(stream, NoTls).await;
            let (client, _) = connected.map_err(PostgresError)?;
            Ok(client)
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
        // A server that accepts connections and sends nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut addresses = vec![
            Address::Tcp(([127, 0, 0, 1], 1).into()),
            Address::Tcp(silent.local_addr().unwrap()),
        ];
        let attempt = HostAttempt {
            connect_timeout: target.connect_timeout,
            opener: &Login(target.config.clone()),
            endpoint,
            attrs: TargetSessionAttrs::Any,
        };
        let soon = || Instant::now() + Duration::from_secs(2);
        let failed = attempt.try_addresses(&addresses, soon(), true).await;
        let error = HostsError(failed.err().unwrap()).to_string();
        for address in &addresses {
            assert!(error.contains(&address.to_string()), "{error}");
        }
        addresses.extend(endpoint.addresses().await.unwrap());
        let opened = attempt.try_addresses(&addresses, soon(), true).await;
        assert!(opened.is_ok());
    }
}
