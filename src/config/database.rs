//! The database URL, from a setting or a file, and the defaults of its TLS parameters.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use clap::Args;

use super::url::{DatabaseKind, DatabaseUrl, TlsDefaults, UnknownScheme};

/// The two settings of the database URL.
#[derive(Clone, Args)]
#[group(skip)]
pub(crate) struct DatabaseArgs {
    /// The database: postgres://USER:PASSWORD@HOST/NAME, sqlite://FILE or sqlite::memory:
    #[arg(long, env, default_value = "sqlite://orders.db")]
    database_url: String,
    /// A file that holds the URL; read again for every new connection; takes precedence over DATABASE_URL
    #[arg(long, env)]
    database_url_file: Option<PathBuf>,
    /// sslmode of a PostgreSQL URL that has none
    #[arg(long, env)]
    pub(super) database_sslmode: Option<String>,
    /// sslrootcert of a PostgreSQL URL that has none: a file, read again for every new connection, or `system`
    #[arg(long, env)]
    pub(super) database_sslrootcert: Option<String>,
    /// sslcert of a PostgreSQL URL that has neither sslcert nor sslkey: a file, read again like sslrootcert
    #[arg(long, env, requires = "database_sslkey")]
    pub(super) database_sslcert: Option<String>,
    /// sslkey that belongs to DATABASE_SSLCERT
    #[arg(long, env, requires = "database_sslcert")]
    pub(super) database_sslkey: Option<String>,
}

impl fmt::Debug for DatabaseArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseArgs(…)")
    }
}

impl DatabaseArgs {
    pub(super) fn source(&self) -> DatabaseSource {
        DatabaseSource(self.clone())
    }

    fn tls_defaults(&self) -> TlsDefaults {
        TlsDefaults {
            mode: self.database_sslmode.clone(),
            root_cert: self.database_sslrootcert.clone(),
            client: self
                .database_sslcert
                .clone()
                .zip(self.database_sslkey.clone()),
        }
    }
}

/// The source of the database URL.
#[derive(Clone, Debug)]
pub struct DatabaseSource(DatabaseArgs);

/// Checks a URL without connecting. The error must not contain the URL, which may hold a password.
pub type CheckUrl = fn(&DatabaseUrl) -> Result<(), Box<dyn Error + Send + Sync>>;

/// Describes a URL for users and logs, without the user, the password and the parameters.
pub type DescribeUrl = fn(&DatabaseUrl) -> String;

impl DatabaseSource {
    /// Returns the current URL. A file is read each time, so that a rotated secret needs no restart.
    ///
    /// # Errors
    /// When the file cannot be read or the scheme is unknown.
    pub fn url(&self) -> Result<DatabaseUrl, UrlError> {
        let text = match &self.0.database_url_file {
            None => self.0.database_url.clone(),
            Some(path) => std::fs::read_to_string(path).map_err(|source| UrlError::Unreadable {
                path: path.clone(),
                source,
            })?,
        };
        let url = DatabaseUrl::parse(text.trim()).map_err(|source| UrlError::Scheme {
            setting: self.setting(),
            source,
        })?;
        Ok(url.with_tls_defaults(self.0.tls_defaults()))
    }

    /// Whether the URL is in a file, whose content may change.
    pub(crate) fn is_file(&self) -> bool {
        self.0.database_url_file.is_some()
    }

    /// Checks the parts of the URL that can be checked without connecting.
    pub(super) fn check(&self, check: CheckUrl) -> Result<(), UrlError> {
        let url = self.url()?;
        check(&url).map_err(|source| UrlError::Invalid {
            setting: self.setting(),
            form: match url.kind() {
                DatabaseKind::Sqlite => "sqlite://FILE or sqlite::memory:",
                DatabaseKind::Postgres => "postgres://USER:PASSWORD@HOST/NAME",
            },
            source,
        })
    }

    fn setting(&self) -> UrlSetting {
        match &self.0.database_url_file {
            None => UrlSetting::Variable,
            Some(path) => UrlSetting::File(path.clone()),
        }
    }

    /// Describes the URL for users and logs, or the reason why there is none.
    pub(crate) fn describe(&self, describe: DescribeUrl) -> String {
        self.url()
            .map_or_else(|error| error.to_string(), |url| describe(&url))
    }

    pub(super) fn file_display(&self) -> String {
        self.0
            .database_url_file
            .as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default()
    }
}

/// Why the URL of the database cannot be used. No message contains the URL, which may hold a secret.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// The file that holds the URL cannot be read.
    #[error("DATABASE_URL_FILE takes a file that holds the URL of the database; {}: {source}", path.display())]
    Unreadable {
        /// The value of `DATABASE_URL_FILE`.
        path: PathBuf,
        /// The error that the file system reports.
        source: io::Error,
    },
    /// The URL does not name a supported database.
    #[error("{setting} {source}")]
    Scheme {
        /// The setting that holds the URL.
        setting: UrlSetting,
        /// The forms that the setting accepts.
        source: UnknownScheme,
    },
    /// The URL has a known scheme but is invalid.
    #[error("{setting} takes {form}: {source}")]
    Invalid {
        /// The setting that holds the URL.
        setting: UrlSetting,
        /// The form of a URL with this scheme.
        form: &'static str,
        /// The reason why the URL is invalid.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// The setting that holds the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlSetting {
    /// `DATABASE_URL`.
    Variable,
    /// The file that `DATABASE_URL_FILE` names.
    File(PathBuf),
}

impl fmt::Display for UrlSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable => f.write_str("DATABASE_URL"),
            Self::File(path) => {
                write!(f, "DATABASE_URL_FILE: the content of {}", path.display())
            }
        }
    }
}
