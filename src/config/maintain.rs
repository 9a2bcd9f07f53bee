//! The arguments of `order-service maintain`.

use std::io;
use std::path::PathBuf;

use clap::Args;

use super::retention::Retention;
use super::url::DatabaseUrl;

/// Where to write what is removed.
#[derive(Clone, Debug, Args)]
pub struct MaintainArgs {
    /// The directory for the archive of old orders; required if ORDER_RETENTION is set
    #[arg(long, value_name = "DIR")]
    pub archive_to: Option<PathBuf>,
}

/// Why the database cannot be maintained with these arguments and settings.
#[derive(Debug, thiserror::Error)]
pub(super) enum MaintainError {
    #[error("DATABASE_URL takes a database that other processes can use, not sqlite::memory:")]
    InMemory,
    #[error(
        "ORDER_RETENTION has no effect without --archive-to DIR: orders are removed only after they were archived"
    )]
    NoArchive,
    #[error("--archive-to has no effect without ORDER_RETENTION: set both or neither")]
    NoRetention,
    #[error("--archive-to takes an existing directory; {}: {source}", path.display())]
    Directory { path: PathBuf, source: io::Error },
}

impl MaintainArgs {
    pub(super) fn check(
        &self,
        retention: &Retention,
        url: &DatabaseUrl,
    ) -> Result<(), MaintainError> {
        if url.is_in_memory() {
            return Err(MaintainError::InMemory);
        }
        match (&self.archive_to, retention.orders) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(MaintainError::NoArchive),
            (Some(_), None) => Err(MaintainError::NoRetention),
            // A missing directory is often a volume that is not mounted.
            (Some(path), Some(_)) => match path.read_dir() {
                Ok(_) => Ok(()),
                Err(source) => Err(MaintainError::Directory {
                    path: path.clone(),
                    source,
                }),
            },
        }
    }
}
