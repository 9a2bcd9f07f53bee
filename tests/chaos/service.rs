//! The service as the experiments start it: two tenants with credentials, on a fixed port.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::auth_file::{AuthFile, api_key, bearer};
use crate::support::eventually;
use crate::support::server::{Limits, Server};

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

    fn index(self) -> usize {
        match self {
            Self::Acme => 0,
            Self::Globex => 1,
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

/// The values of `Authorization` that the clients send. They can change while the clients run.
#[derive(Clone)]
pub(crate) struct Credentials(Arc<Mutex<[Arc<str>; 2]>>);

impl Credentials {
    /// The API keys of the tenants.
    pub(crate) fn of_tenants() -> Self {
        let keys = Tenant::ALL.map(|tenant| tenant.credential().into());
        Self(Arc::new(Mutex::new(keys)))
    }

    /// The credential for a request, which keeps it until its response.
    pub(crate) fn of(&self, tenant: Tenant) -> Arc<str> {
        Arc::clone(&self.0.lock().unwrap()[tenant.index()])
    }

    /// Makes the clients of a tenant use another credential for their next requests.
    pub(crate) fn replace(&self, tenant: Tenant, credential: &str) -> Arc<str> {
        let mut all = self.0.lock().unwrap();
        std::mem::replace(&mut all[tenant.index()], credential.into())
    }

    /// Makes the clients of a tenant use another credential, and waits until no request has the previous one.
    pub(crate) async fn switch(&self, tenant: Tenant, credential: &str) {
        let previous = self.replace(tenant, credential);
        let timeout = Duration::from_secs(30);
        eventually("no request has the credential", timeout, async || {
            Arc::strong_count(&previous) == 1
        })
        .await;
    }
}

/// The scopes of the credentials.
pub(crate) const SCOPES: [&str; 3] = ["orders:read", "orders:write", "events:read"];

/// The memory that the service may have in overload and while the database fails.
pub(crate) const MEMORY_MIB: usize = 128;

/// How to start processes of the service, one after the other or several at a time.
pub(crate) struct Service {
    url: String,
    auth: AuthFile,
    variables: Vec<(&'static str, String)>,
    limits: Limits,
}

impl Service {
    /// A service on the database with this URL.
    pub(crate) fn on(url: impl Into<String>) -> Self {
        let keys = Tenant::ALL.map(|tenant| (tenant.name(), SCOPES.as_slice(), tenant.name()));
        Self {
            url: url.into(),
            auth: AuthFile::with_keys(&keys),
            variables: Vec::new(),
            limits: Limits::default(),
        }
    }

    pub(crate) fn with(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((variable, value.into()));
        self
    }

    /// Limits the file descriptors of a process.
    pub(crate) fn with_descriptors(mut self, limit: usize) -> Self {
        self.limits.descriptors = Some(limit);
        self
    }

    /// Limits the memory of a process, as Kubernetes does.
    pub(crate) fn with_memory_limit(mut self, mib: Option<usize>) -> Self {
        self.limits.memory_mib = mib;
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
            ("METRICS_ADDRESS", "127.0.0.1:0"),
            ("WORKERS", "2"),
        ];
        variables.extend(
            self.variables
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        Server::spawn_limited(self.limits, &variables).await
    }
}

/// An address that is free now, for a service that is started several times.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}
