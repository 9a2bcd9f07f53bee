//! Database URLs, for [`crate::config`], which does not import the store.

use std::error::Error;

use super::postgres::{check_postgres_url, describe_postgres_url};
use super::sqlite::check_sqlite_url;
use crate::config::{DatabaseKind, DatabaseUrl};

/// Checks a database URL without connecting.
///
/// # Errors
/// The reason why the URL is invalid, without the URL itself: it may hold a password.
pub fn check_database_url(url: &DatabaseUrl) -> Result<(), Box<dyn Error + Send + Sync>> {
    match url.kind() {
        DatabaseKind::Postgres => check_postgres_url(url)?,
        DatabaseKind::Sqlite => check_sqlite_url(url)?,
    }
    Ok(())
}

/// Describes a database URL for users and logs, without the user, the password and the parameters.
pub fn describe_database_url(url: &DatabaseUrl) -> String {
    match url.kind() {
        DatabaseKind::Postgres => describe_postgres_url(url),
        DatabaseKind::Sqlite => {
            let text = url.expose();
            text.split_once('?')
                .map_or(text, |(path, _)| path)
                .to_owned()
        }
    }
}
