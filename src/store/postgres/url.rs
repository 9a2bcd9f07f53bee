//! What a PostgreSQL URL says, read as libpq reads it.

use percent_encoding::percent_decode_str;
use tokio_postgres::config::Host;

use super::tls::TlsWish;
use crate::config::DatabaseUrl;

/// What a URL says: where to connect and how.
pub(super) struct Target {
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: TlsWish,
}

impl Target {
    /// Reads a URL as libpq does (PostgreSQL manual, section 34.1.1.2). tokio-postgres knows
    /// neither `sslrootcert` nor all values of `sslmode`; they are taken out before.
    pub(super) fn parse(url: &DatabaseUrl) -> Result<Self, String> {
        let (base, query) = url.expose().split_once('?').unwrap_or((url.expose(), ""));
        let mut sslmode = None;
        let mut root_cert = None;
        let mut others = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let decoded = || percent_decode_str(value).decode_utf8_lossy().into_owned();
            match name {
                "sslmode" => sslmode = Some(decoded()),
                "sslrootcert" => root_cert = Some(decoded()),
                // tokio-postgres takes any `@` for the end of the password.
                _ => others.push(parameter.replace('@', "%40")),
            }
        }
        let tls = TlsWish::parse(sslmode.as_deref(), root_cert.as_deref())?;
        let mut config: tokio_postgres::Config = format!("{base}?{}", others.join("&"))
            .parse()
            // The error's text may quote the URL, and with it the password.
            .map_err(|_| "not a valid PostgreSQL URL".to_owned())?;
        config.ssl_mode(tls.mode);
        if config.get_hosts().is_empty() {
            return Err("the URL names no host".to_owned());
        }
        if config.get_application_name().is_none() {
            config.application_name("order-service");
        }
        Ok(Self { config, tls })
    }

    /// Host, port and database, without user and password.
    fn describe(&self) -> String {
        let ports = self.config.get_ports();
        let hosts: Vec<String> = self
            .config
            .get_hosts()
            .iter()
            .enumerate()
            .map(|(i, host)| {
                let port = ports.get(i).or(ports.first()).copied().unwrap_or(5432);
                match host {
                    Host::Tcp(name) => format!("{name}:{port}"),
                    Host::Unix(path) => path.display().to_string(),
                }
            })
            .collect();
        let name = self.config.get_dbname().unwrap_or_default();
        format!("postgres://{}/{name}", hosts.join(","))
    }
}

/// Checks a PostgreSQL URL without connecting.
///
/// # Errors
/// What is wrong with it, without the URL itself: it may hold a password.
pub fn check_postgres_url(url: &DatabaseUrl) -> Result<(), String> {
    let target = Target::parse(url)?;
    target.tls.client_config().map(|_| ())
}

/// The part of a PostgreSQL URL that is no secret.
pub fn describe_postgres_url(url: &DatabaseUrl) -> String {
    Target::parse(url).map_or_else(|_| "postgres://…".to_owned(), |target| target.describe())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_postgres::config::SslMode;

    fn target(text: &str) -> Result<Target, String> {
        Target::parse(&DatabaseUrl::parse(text).unwrap())
    }

    #[test]
    fn the_description_holds_no_secret() {
        for url in [
            "postgres://user:secret@db.example:5433/shop",
            "postgres://db.example:5433/shop?user=user&password=secret@x",
        ] {
            assert_eq!(
                target(url).unwrap().describe(),
                "postgres://db.example:5433/shop"
            );
        }
        let two = target("postgres://u:secret@a:1,b:2/shop").unwrap();
        assert_eq!(two.describe(), "postgres://a:1,b:2/shop");
    }

    #[test]
    fn ssl_parameters_are_read_as_libpq_does() {
        let mode = |text: &str| target(text).map(|target| target.tls.mode);
        assert_eq!(mode("postgres://h/d"), Ok(SslMode::Prefer));
        assert_eq!(mode("postgres://h/d?sslmode=disable"), Ok(SslMode::Disable));
        assert_eq!(
            mode("postgres://h/d?sslmode=verify-full"),
            Ok(SslMode::Require)
        );
        assert!(mode("postgres://h/d?sslmode=sometimes").is_err());
        let wish = |mode, cert| TlsWish::parse(Some(mode), cert).unwrap();
        assert_eq!(
            wish("require", Some("/ca.pem")),
            wish("verify-ca", Some("/ca.pem"))
        );
        assert_ne!(wish("require", None), wish("verify-ca", None));
    }

    #[test]
    fn a_bad_url_is_refused_without_being_quoted() {
        for bad in [
            "postgres://u:secret@h:port/d",
            "postgres:///d",
            "postgres://u:secret@h/d?nonsense=secret",
        ] {
            let message = target(bad).map(|_| ()).unwrap_err();
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
