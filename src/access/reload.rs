//! Follows `AUTH_FILE`.

use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

use super::Access;
use super::file::{FileReader, ReadError};
use super::policy::{Policy, PolicyError};

/// How often the file is read. Its content is compared: Kubernetes replaces a mounted secret by a symbolic link,
/// and a time of change may go back.
const INTERVAL: Duration = Duration::from_secs(5);
/// The most bytes of a file: a few thousand keys.
const MAX_BYTES: u64 = 1024 * 1024;

/// Why a file is not in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be read.
    #[error("{path}: {error}", path = path.display())]
    Read {
        /// Where it is.
        path: PathBuf,
        /// Why.
        error: ReadError,
    },
    /// Its content is not a policy.
    #[error("{path}: {source}", path = path.display())]
    Policy {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        source: PolicyError,
    },
}

/// Reads the text of a file.
///
/// # Errors
/// [`FileError`].
pub(super) async fn read(files: &FileReader, path: &Path) -> Result<String, FileError> {
    files
        .read(path, MAX_BYTES)
        .await
        .map_err(|error| FileError::Read {
            path: path.to_owned(),
            error,
        })
}

/// Reads a policy.
///
/// # Errors
/// [`FileError`].
pub(super) fn parse(path: &Path, text: &str) -> Result<Policy, FileError> {
    Policy::parse(text).map_err(|source| FileError::Policy {
        path: path.to_owned(),
        source,
    })
}

/// Puts each new content of the file into force, until the service ends. A bad file changes nothing and is
/// reported once.
pub(super) async fn follow(access: Weak<Access>, path: PathBuf, mut text: String) {
    let files = FileReader::default();
    let mut unreadable = false;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let result = read(&files, &path).await;
        let Some(access) = access.upgrade() else {
            return;
        };
        match result {
            Ok(new) if new == text => {
                if unreadable {
                    log::info!("AUTH_FILE can be read again; its content is the same as before");
                }
                unreadable = false;
            }
            Ok(new) => {
                unreadable = false;
                let parsed = parse(&path, &new);
                text = new;
                match parsed {
                    Ok(policy) => {
                        access.replace(policy);
                        access.metrics.auth_file_reloaded(true);
                        log::info!("AUTH_FILE is in force again, with its new content");
                    }
                    Err(error) => report(&access, &error),
                }
            }
            Err(_) if unreadable => {}
            Err(error) => {
                unreadable = true;
                report(&access, &error);
            }
        }
    }
}

fn report(access: &Access, error: &FileError) {
    access.metrics.auth_file_reloaded(false);
    log::error!(error:%; "AUTH_FILE is bad; the one before stays in force");
}
