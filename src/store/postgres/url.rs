//! What a PostgreSQL URL says, read as libpq reads it (PostgreSQL manual, section 34.1.2
//! "Parameter Key Words").

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, SslNegotiation};

use super::tls::TlsOptions;
use super::uri::Parameters;
use super::wanted::Wanted;
use crate::config::DatabaseUrl;

/// What a URL says: where to connect and how.
pub(super) struct Target {
    /// How to log in. It names no host; that is for [`super::hosts`].
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: TlsOptions,
    /// In the order to try them; at least one.
    pub(super) endpoints: Vec<Endpoint>,
    /// Try them in a random order instead.
    pub(super) shuffled: bool,
    /// What the server must be.
    pub(super) wanted: Wanted,
    /// How long one address may take, from its name to a session that is ready.
    pub(super) connect_timeout: Option<Duration>,
    pub(super) socket: SocketOptions,
}

/// A place where a server may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// What the certificate must be for.
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To be looked up.
    Name,
    Address(IpAddr),
    /// The directory of a Unix socket.
    Directory(PathBuf),
}

/// What is set on a TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SocketOptions {
    pub(super) keepalive: Option<Keepalive>,
    /// How long sent bytes may stay unacknowledged; none leaves it to the kernel.
    pub(super) user_timeout: Option<Duration>,
}

/// When the kernel asks a silent peer whether it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keepalive {
    pub(super) idle: Duration,
    pub(super) interval: Duration,
    pub(super) count: u32,
}

/// A peer that vanished without a word is noticed within about this time.
const USER_TIMEOUT: Duration = Duration::from_secs(20);
const KEEPALIVE: Keepalive = Keepalive {
    idle: Duration::from_secs(10),
    interval: Duration::from_secs(3),
    count: 3,
};

impl Target {
    /// Reads a URL. A parameter without a value counts as not given.
    ///
    /// # Errors
    /// What is wrong, with the name of a parameter and never a value: it may be a secret.
    pub(super) fn parse(url: &DatabaseUrl) -> Result<Self, String> {
        let mut given = Parameters::parse(url.expose())?;
        let tls = TlsOptions::read(&mut given)?;
        let target = Self {
            endpoints: endpoints(&mut given)?,
            config: login(&mut given, &tls)?,
            tls,
            shuffled: given
                .choice(
                    "load_balance_hosts",
                    &[("disable", false), ("random", true)],
                )?
                .unwrap_or(false),
            wanted: given
                .choice("target_session_attrs", &Wanted::WORDS)?
                .unwrap_or(Wanted::Any),
            connect_timeout: seconds(&mut given, "connect_timeout")?,
            socket: socket_options(&mut given)?,
        };
        // There is no Kerberos here; `prefer` uses it only where a ticket is.
        given.choice("gssencmode", &[("disable", ()), ("prefer", ())])?;
        // Everything is UTF-8 here; `auto` is what the environment says.
        given.choice(
            "client_encoding",
            &[("UTF8", ()), ("utf8", ()), ("auto", ())],
        )?;
        given.finish()?;
        Ok(target)
    }

    /// Hosts, ports and database, without user and password.
    fn describe(&self) -> String {
        let hosts: Vec<_> = self.endpoints.iter().map(ToString::to_string).collect();
        let name = self.config.get_dbname().unwrap_or_default();
        format!("postgres://{}/{name}", hosts.join(","))
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Directory(path) => write!(f, "{}", path.display()),
            _ if self.name.contains(':') => write!(f, "[{}]:{}", self.name, self.port),
            _ => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

/// Who logs in, and into what.
fn login(given: &mut Parameters, tls: &TlsOptions) -> Result<tokio_postgres::Config, String> {
    let mut config = tokio_postgres::Config::new();
    config.ssl_mode(tls.mode);
    if let Some(user) = given.text("user")? {
        config.user(user);
    }
    if let Some(password) = given.bytes("password") {
        config.password(password);
    }
    if let Some(name) = given.text("dbname")? {
        config.dbname(name);
    }
    if let Some(options) = given.text("options")? {
        config.options(options);
    }
    let fallback = given.text("fallback_application_name")?;
    let name = given.text("application_name")?.or(fallback);
    config.application_name(name.unwrap_or_else(|| "order-service".to_owned()));
    let binding = [
        ("disable", ChannelBinding::Disable),
        ("prefer", ChannelBinding::Prefer),
        ("require", ChannelBinding::Require),
    ];
    if let Some(binding) = given.choice("channel_binding", &binding)? {
        config.channel_binding(binding);
    }
    if tls.direct {
        config.ssl_negotiation(SslNegotiation::Direct);
    }
    Ok(config)
}

/// Where to connect to. The lists of hosts, addresses and ports belong together.
fn endpoints(given: &mut Parameters) -> Result<Vec<Endpoint>, String> {
    let mut list = |name| -> Result<Vec<String>, String> {
        let text = given.text(name)?;
        Ok(text.map_or_else(Vec::new, |text| {
            text.split(',').map(str::to_owned).collect()
        }))
    };
    let (hosts, addresses, ports) = (list("host")?, list("hostaddr")?, list("port")?);
    let count = hosts.len().max(addresses.len());
    if count == 0 {
        return Err("the URL names no host".to_owned());
    }
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err("host and hostaddr take lists of the same length".to_owned());
    }
    if ports.len() > 1 && ports.len() != count {
        return Err("port takes one number, or one for each host".to_owned());
    }
    (0..count)
        .map(|i| {
            let host = hosts.get(i).map_or("", String::as_str);
            let address = addresses.get(i).map_or("", String::as_str);
            let place = if !address.is_empty() {
                let address = address.parse();
                Place::Address(address.map_err(|_| "hostaddr takes IP addresses")?)
            } else if host.starts_with('/') {
                Place::Directory(PathBuf::from(host))
            } else if host.is_empty() {
                return Err("the list of hosts has an empty place".to_owned());
            } else {
                host.parse().map_or(Place::Name, Place::Address)
            };
            let port =
                match ports.get(i).or(ports.first()).map_or("", String::as_str) {
                    "" => 5432,
                    text => text.parse().ok().filter(|port| *port > 0).ok_or(
                        "a port is a number from 1 to 65535; write %2F for a / in a password",
                    )?,
                };
            let name = if host.is_empty() { address } else { host }.to_owned();
            Ok(Endpoint { name, place, port })
        })
        .collect()
}

/// A time in seconds; 0 counts as not given.
fn seconds(given: &mut Parameters, name: &str) -> Result<Option<Duration>, String> {
    let seconds = given.number(name)?.filter(|seconds| *seconds > 0);
    Ok(seconds.map(|seconds| Duration::from_secs(seconds.into())))
}

fn socket_options(given: &mut Parameters) -> Result<SocketOptions, String> {
    // The second name is that of tokio-postgres.
    let count = given.number("keepalives_count")?;
    let count = count.or(given.number("keepalives_retries")?);
    let keepalive = Keepalive {
        idle: seconds(given, "keepalives_idle")?.unwrap_or(KEEPALIVE.idle),
        interval: seconds(given, "keepalives_interval")?.unwrap_or(KEEPALIVE.interval),
        count: count.filter(|count| *count > 0).unwrap_or(KEEPALIVE.count),
    };
    let user_timeout = match given.number("tcp_user_timeout")? {
        None => Some(USER_TIMEOUT),
        Some(0) => None,
        Some(milliseconds) => Some(Duration::from_millis(milliseconds.into())),
    };
    Ok(SocketOptions {
        keepalive: (given.number("keepalives")? != Some(0)).then_some(keepalive),
        user_timeout,
    })
}

/// Checks a PostgreSQL URL without connecting.
///
/// # Errors
/// What is wrong with it, without the URL itself: it may hold a password.
pub(crate) fn check_postgres_url(url: &DatabaseUrl) -> Result<(), String> {
    let target = Target::parse(url)?;
    target.tls.client_config().map(|_| ())
}

/// The part of a PostgreSQL URL that is no secret.
pub(crate) fn describe_postgres_url(url: &DatabaseUrl) -> String {
    Target::parse(url).map_or_else(|_| "postgres://…".to_owned(), |target| target.describe())
}

#[cfg(test)]
mod tests;
