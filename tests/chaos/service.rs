//! The service as the experiments start it: two tenants with credentials, on a fixed port.

use std::net::TcpListener;

use crate::support::auth_file::{AuthFile, api_key, bearer};
use crate::support::server::Server;

/// The tenants of the clients. Each has one API key with the name of the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tenant {
    Acme,
    Globex,
}

impl Tenant {
    pub(crate) const ALL: [Self; 2] = [Self::Acme, Self::Globex];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Acme => "acme",
            Self::Globex => "globex",
        }
    }

    /// The API key.
    pub(crate) fn key(self) -> String {
        api_key(self.name())
    }

    /// The value of `Authorization`.
    pub(crate) fn credential(self) -> String {
        bearer(&self.key())
    }
}

/// How to start processes of the service, one after the other or several at a time.
pub(crate) struct Service {
    url: String,
    auth: AuthFile,
    variables: Vec<(&'static str, String)>,
}

impl Service {
    /// A service on the database with this URL.
    pub(crate) fn on(url: impl Into<String>) -> Self {
        let scopes: &[&str] = &["orders:read", "orders:write", "events:read"];
        let keys = Tenant::ALL.map(|tenant| (tenant.name(), scopes, tenant.name()));
        Self {
            url: url.into(),
            auth: AuthFile::with_keys(&keys),
            variables: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((variable, value.into()));
        self
    }

    /// Starts a process on a free port.
    pub(crate) async fn start(&self) -> Server {
        self.start_at("127.0.0.1:0").await
    }

    /// Starts a process that listens at `HOST:PORT`.
    pub(crate) async fn start_at(&self, address: &str) -> Server {
        let auth = self.auth.path();
        let mut variables = vec![
            ("DATABASE_URL", self.url.as_str()),
            ("AUTH_FILE", auth.as_str()),
            ("BIND_ADDRESS", address),
        ];
        variables.extend(
            self.variables
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        Server::spawn(&variables).await
    }
}

/// An address that is free now, for a service that is started several times.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}
