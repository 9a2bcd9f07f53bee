//! Where the database is: a URL, or a file that holds it.

use std::fmt;
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

impl DatabaseSource {
    /// The URL as it is now: a file is read anew, so that a rotated secret needs no restart.
    ///
    /// # Errors
    /// A sentence that names the variable, when the file cannot be read or the scheme is unknown.
    pub fn url(&self) -> Result<DatabaseUrl, String> {
        let text = match &self.0.database_url_file {
            None => self.0.database_url.clone(),
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                format!(
                    "DATABASE_URL_FILE takes a file that holds the URL of the database; {}: {error}",
                    path.display()
                )
            })?,
        };
        DatabaseUrl::parse(text.trim()).map_err(|error| self.about(&error))
    }

    /// Checks what can be checked without connecting.
    ///
    /// # Errors
    /// A sentence that names the variable, without the URL.
    pub fn check(&self) -> Result<(), String> {
        self.url()?.check().map_err(|error| self.about(&error))
    }

    /// What is wrong with the URL, with the variable that holds it.
    fn about(&self, error: &str) -> String {
        match &self.0.database_url_file {
            None => format!("DATABASE_URL {error}"),
            Some(path) => format!(
                "DATABASE_URL_FILE: the content of {} {error}",
                path.display()
            ),
        }
    }

    pub(super) fn file_display(&self) -> String {
        self.0
            .database_url_file
            .as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default()
    }
}

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
        f.write_str(&self.without_secrets())
    }
}

impl DatabaseUrl {
    /// Recognises the scheme; the rest is for the store to read.
    ///
    /// # Errors
    /// What the variable takes. The text itself is never in the message: it may hold a secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let kind = if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            DatabaseKind::Postgres
        } else if text == "sqlite::memory:"
            || text
                .strip_prefix("sqlite://")
                .is_some_and(|file| !file.is_empty() && !file.contains(":memory:"))
        {
            DatabaseKind::Sqlite
        } else {
            return Err("takes postgres://…, sqlite://FILE or sqlite::memory:".to_owned());
        };
        Ok(Self {
            kind,
            text: text.to_owned(),
        })
    }

    /// Checks what can be checked without connecting.
    ///
    /// # Errors
    /// What it takes and what is wrong, without the URL.
    fn check(&self) -> Result<(), String> {
        match self.kind {
            DatabaseKind::Sqlite => crate::store::check_sqlite_url(self)
                .map_err(|error| format!("takes sqlite://FILE or sqlite::memory:: {error}")),
            DatabaseKind::Postgres => crate::store::check_postgres_url(self)
                .map_err(|error| format!("takes postgres://USER:PASSWORD@HOST/NAME: {error}")),
        }
    }

    /// Which database it names.
    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// The whole URL, secret included.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The URL for people and logs: no user, no password, no parameters.
    pub fn without_secrets(&self) -> String {
        match self.kind {
            DatabaseKind::Sqlite => self
                .text
                .split_once('?')
                .map_or(self.text.as_str(), |(path, _)| path)
                .to_owned(),
            DatabaseKind::Postgres => crate::store::describe_postgres_url(self),
        }
    }
}
