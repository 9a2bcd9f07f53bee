//! Checks that the file of an SQLite database can be opened as the URL requires.
//!
//! SQLite itself opens a file without write permission for reading only, and its error for a folder without write
//! permission does not name the folder.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use thiserror::Error;

use super::location::Mode;

/// Why a file cannot be opened as the URL requires.
#[derive(Debug, Error)]
pub(in crate::store) enum FileError {
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    #[error("{} is a folder", .0.display())]
    IsFolder(PathBuf),
    #[error("there is no file {}", .0.display())]
    NoFile(PathBuf),
    #[error("{} cannot be written: {source}", path.display())]
    NotWritable {
        path: PathBuf,
        source: rustix::io::Errno,
    },
}

pub(super) fn check(path: &Path, mode: Mode) -> Result<(), FileError> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(FileError::NoFolder(folder.to_owned()));
    }
    if path.is_dir() {
        return Err(FileError::IsFolder(path.to_owned()));
    }
    // After an error, which may be temporary, SQLite tries to open the file and reports the cause.
    let exists = path.try_exists().unwrap_or(true);
    if !exists && mode != Mode::Create {
        return Err(FileError::NoFile(path.to_owned()));
    }
    if mode == Mode::Read {
        return Ok(());
    }
    if exists {
        check_writable(path)?;
    }
    // SQLite creates two more files next to the database.
    check_writable(folder)
}

fn check_writable(path: &Path) -> Result<(), FileError> {
    access(path, Access::WRITE_OK).map_err(|source| FileError::NotWritable {
        path: path.to_owned(),
        source,
    })
}
