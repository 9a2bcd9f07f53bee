//! The URL of a database, with a known scheme.

use std::fmt;

/// The scheme of a URL does not name a supported database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("takes postgres://…, sqlite://FILE or sqlite::memory:")]
pub struct UnknownScheme;

/// The kind of database that a URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    /// PostgreSQL 13 or later.
    Postgres,
    /// The embedded SQLite.
    Sqlite,
}

/// TLS parameters of a PostgreSQL URL that does not have them. Provisioners of databases generate URLs without paths of
/// files, because the paths depend on where the files are mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsDefaults {
    /// `sslmode`.
    pub mode: Option<String>,
    /// `sslrootcert`.
    pub root_cert: Option<String>,
    /// `sslcert` and `sslkey`, which belong together.
    pub client: Option<(String, String)>,
}

/// The URL of a database. It may contain a secret, which `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    kind: DatabaseKind,
    text: String,
    tls_defaults: TlsDefaults,
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({:?}, …)", self.kind)
    }
}

impl DatabaseUrl {
    /// Recognizes the scheme. The store reads the rest.
    ///
    /// # Errors
    /// When the scheme is not that of a supported database.
    pub fn parse(text: &str) -> Result<Self, UnknownScheme> {
        let kind = if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            DatabaseKind::Postgres
        } else if text == "sqlite::memory:"
            || text
                .strip_prefix("sqlite://")
                .is_some_and(|file| !file.is_empty() && !file.contains(":memory:"))
        {
            DatabaseKind::Sqlite
        } else {
            return Err(UnknownScheme);
        };
        Ok(Self {
            kind,
            text: text.to_owned(),
            tls_defaults: TlsDefaults::default(),
        })
    }

    /// Sets the TLS parameters that apply where the URL has none.
    #[must_use]
    pub fn with_tls_defaults(self, tls_defaults: TlsDefaults) -> Self {
        Self {
            tls_defaults,
            ..self
        }
    }

    /// The TLS parameters that apply where the URL has none.
    pub fn tls_defaults(&self) -> &TlsDefaults {
        &self.tls_defaults
    }

    /// The kind of database that the URL names.
    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// Whether the database is in the memory of the process, which no other process can use.
    pub fn is_in_memory(&self) -> bool {
        self.text == "sqlite::memory:"
    }

    /// Returns the whole URL, including its secret.
    pub fn expose(&self) -> &str {
        &self.text
    }
}
