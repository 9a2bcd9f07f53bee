//! Where the database is: a URL, or a file that holds it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use clap::Args;

/// The two settings that say where the database is.
#[derive(Clone, Args)]
#[group(skip)]
pub(crate) struct DatabaseArgs {
    /// The database: postgres://USER:PASSWORD@HOST/NAME, sqlite://FILE or sqlite::memory:
    #[arg(long, env, default_value = "sqlite://orders.db")]
    database_url: String,
    /// A file that holds the URL; read again for every new connection; wins over DATABASE_URL
    #[arg(long, env)]
    database_url_file: Option<PathBuf>,
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
}

/// Where the URL of the database comes from.
#[derive(Clone, Debug)]
pub struct DatabaseSource(DatabaseArgs);

/// Checks a URL without connecting. The error must not contain the URL, which may hold a password.
pub type CheckUrl = fn(&DatabaseUrl) -> Result<(), Box<dyn Error + Send + Sync>>;

/// Describes a URL for people and logs: no user, no password, no parameters.
pub type DescribeUrl = fn(&DatabaseUrl) -> String;

impl DatabaseSource {
    /// The URL as it is now. A file is read each time, so that a rotated secret needs no restart.
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
        DatabaseUrl::parse(text.trim()).map_err(|source| UrlError::Scheme {
            setting: self.setting(),
            source,
        })
    }

    /// Checks what can be checked without connecting.
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

    /// The URL for people and logs, or why there is none.
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
        /// What the file system reports.
        source: io::Error,
    },
    /// The URL names no database that is supported.
    #[error("{setting} {source}")]
    Scheme {
        /// The setting that holds the URL.
        setting: UrlSetting,
        /// What it takes.
        source: UnknownScheme,
    },
    /// The URL has a known scheme and is wrong.
    #[error("{setting} takes {form}: {source}")]
    Invalid {
        /// The setting that holds the URL.
        setting: UrlSetting,
        /// What a URL with this scheme looks like.
        form: &'static str,
        /// What is wrong.
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

/// The scheme of a URL names no database that is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("takes postgres://…, sqlite://FILE or sqlite::memory:")]
pub struct UnknownScheme;

/// Which database a URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    /// PostgreSQL 13 or later.
    Postgres,
    /// The embedded SQLite.
    Sqlite,
}

/// The URL of a database. Holds a secret; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    kind: DatabaseKind,
    text: String,
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({:?}, …)", self.kind)
    }
}

impl DatabaseUrl {
    /// Recognises the scheme; the store reads the rest.
    ///
    /// # Errors
    /// When the scheme is none of a supported database.
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
        })
    }

    /// Which database it names.
    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// The whole URL, secret included.
    pub fn expose(&self) -> &str {
        &self.text
    }
}
