//! A PostgreSQL URL, read as libpq reads it (PostgreSQL manual, section 34.1.2 "Parameter Key Words").

mod endpoints;
mod error;
mod parameters;
mod socket_options;

use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, SslNegotiation};

use super::connection::TargetSessionAttrs;
use super::tls::TlsOptions;
use crate::config::DatabaseUrl;
pub(crate) use endpoints::{Endpoint, Host};
pub(crate) use error::{PostgresUrlError, UrlError};
pub(crate) use parameters::Parameters;
use socket_options::seconds;
pub(crate) use socket_options::{Keepalive, SocketOptions};

/// The content of a URL: where and how to connect.
pub(crate) struct Target {
    /// How to log in. It names no host: `connection` tries the [`Self::endpoints`].
    pub(crate) config: tokio_postgres::Config,
    pub(crate) tls: TlsOptions,
    /// In the order of the URL; at least one.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Whether to try the endpoints in a random order.
    pub(crate) random_order: bool,
    pub(crate) session_attrs: TargetSessionAttrs,
    /// The timeout for one address, from the look-up of its name to a session that is ready.
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) socket: SocketOptions,
}

impl Target {
    /// Reads a URL. A parameter with an empty value counts as absent.
    pub(crate) fn parse(url: &DatabaseUrl) -> Result<Self, UrlError> {
        let mut given = Parameters::parse(url.expose())?;
        given.add_tls_defaults(url.tls_defaults());
        let tls = TlsOptions::read(&mut given)?;
        let target = Self {
            endpoints: Endpoint::list(&mut given)?,
            config: login(&mut given, &tls)?,
            tls,
            random_order: given
                .take_choice(
                    "load_balance_hosts",
                    &[("disable", false), ("random", true)],
                )?
                .unwrap_or(false),
            session_attrs: given
                .take_choice("target_session_attrs", &TargetSessionAttrs::VALUES)?
                .unwrap_or(TargetSessionAttrs::Any),
            connect_timeout: seconds(&mut given, "connect_timeout")?,
            socket: SocketOptions::read(&mut given)?,
        };
        // Kerberos is not supported. `prefer` uses it only if a ticket is available.
        given.take_choice("gssencmode", &[("disable", ()), ("prefer", ())])?;
        // All text is UTF-8. `auto` means the encoding of the environment.
        given.take_choice(
            "client_encoding",
            &[("UTF8", ()), ("utf8", ()), ("auto", ())],
        )?;
        given.finish()?;
        Ok(target)
    }

    /// Hosts, ports and database, without user and password.
    fn without_secrets(&self) -> String {
        let hosts: Vec<_> = self.endpoints.iter().map(ToString::to_string).collect();
        let name = self.config.get_dbname().unwrap_or_default();
        format!("postgres://{}/{name}", hosts.join(","))
    }
}

/// The parameters of the login.
fn login(given: &mut Parameters, tls: &TlsOptions) -> Result<tokio_postgres::Config, UrlError> {
    let mut config = tokio_postgres::Config::new();
    config.ssl_mode(tls.mode);
    if let Some(user) = given.take_text("user")? {
        config.user(user);
    }
    if let Some(password) = given.take_bytes("password") {
        config.password(password);
    }
    if let Some(name) = given.take_text("dbname")? {
        config.dbname(name);
    }
    if let Some(options) = given.take_text("options")? {
        config.options(options);
    }
    let fallback = given.take_text("fallback_application_name")?;
    let name = given.take_text("application_name")?.or(fallback);
    config.application_name(name.unwrap_or_else(|| "order-service".to_owned()));
    let channel_binding = [
        ("disable", ChannelBinding::Disable),
        ("prefer", ChannelBinding::Prefer),
        ("require", ChannelBinding::Require),
    ];
    if let Some(channel_binding) = given.take_choice("channel_binding", &channel_binding)? {
        config.channel_binding(channel_binding);
    }
    if tls.direct {
        config.ssl_negotiation(SslNegotiation::Direct);
    }
    Ok(config)
}

/// Checks a PostgreSQL URL, and the files that it names, without connecting.
///
/// # Errors
/// [`PostgresUrlError`], whose message does not contain the URL: it may hold a password.
pub(crate) fn check_postgres_url(url: &DatabaseUrl) -> Result<(), PostgresUrlError> {
    Target::parse(url)?.tls.client_config()?;
    Ok(())
}

/// The hosts and the database of a PostgreSQL URL, for logs: without user, password and parameters.
pub(crate) fn describe_postgres_url(url: &DatabaseUrl) -> String {
    Target::parse(url).map_or_else(
        |_| "postgres://…".to_owned(),
        |target| target.without_secrets(),
    )
}

#[cfg(test)]
mod tests;
