//! The servers that a URL names (`host`, `hostaddr`, `port`).

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use super::{Parameters, UrlError};

/// One entry in the URL's list of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The name as written in the URL. The server's certificate must be for it.
    pub(crate) name: String,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// How the addresses of an endpoint are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// By a look-up of the endpoint's name.
    Name,
    Address(IpAddr),
    /// The directory of a Unix socket.
    Directory(PathBuf),
}

impl Endpoint {
    /// Takes the lists of hosts, addresses and ports. They have the same length, or are absent. A single port
    /// applies to all hosts.
    pub(super) fn list(given: &mut Parameters) -> Result<Vec<Self>, UrlError> {
        let mut list = |name| -> Result<Vec<String>, UrlError> {
            let text = given.take_text(name)?;
            Ok(text.map_or_else(Vec::new, |text| {
                text.split(',').map(str::to_owned).collect()
            }))
        };
        let (hosts, addresses, ports) = (list("host")?, list("hostaddr")?, list("port")?);
        let count = hosts.len().max(addresses.len());
        if count == 0 {
            return Err(UrlError::NoHost);
        }
        if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
            return Err(UrlError::HostCount);
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(UrlError::PortCount);
        }
        let entry = |list: &[String], i: usize| list.get(i).cloned().unwrap_or_default();
        (0..count)
            .map(|i| {
                let port = ports.get(i).or(ports.first()).map_or("", String::as_str);
                Self::new(entry(&hosts, i), entry(&addresses, i), port)
            })
            .collect()
    }

    /// An address makes the look-up of the host unnecessary.
    fn new(name: String, address: String, port: &str) -> Result<Self, UrlError> {
        let host = if !address.is_empty() {
            Host::Address(address.parse().map_err(|_| UrlError::BadAddress)?)
        } else if name.starts_with('/') {
            Host::Directory(PathBuf::from(&name))
        } else if name.is_empty() {
            return Err(UrlError::EmptyHost);
        } else {
            name.parse().map_or(Host::Name, Host::Address)
        };
        let port = match port {
            "" => 5432,
            text => {
                let port = text.parse().ok().filter(|port| *port > 0);
                port.ok_or(UrlError::BadPort)?
            }
        };
        let name = if name.is_empty() { address } else { name };
        Ok(Self { name, host, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Directory(path) => write!(f, "{}", path.display()),
            _ if self.name.contains(':') => write!(f, "[{}]:{}", self.name, self.port),
            _ => write!(f, "{}:{}", self.name, self.port),
        }
    }
}
