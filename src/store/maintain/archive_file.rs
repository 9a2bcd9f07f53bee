//! Writes the files of the archive. Each has one order a line (NDJSON), as an export has.
//!
//! [`archive_name`](super::archive_name) has the states of a file, and [`pending_file`](super::pending_file) finishes it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::archive_name::{DatabaseId, FileName, PendingName, hex, is_partial};
use super::pending_file::{PendingFile, content_of};
use super::report::ArchiveFile;
use crate::domain::Tenant;
use crate::store::StoreError;

/// Why orders cannot be archived.
#[derive(Debug, Error)]
pub(in crate::store) enum ArchiveError {
    #[error("the archive {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the archive {}: another run writes it", .0.display())]
    Locked(PathBuf),
    #[error("the archive {}: {fault}; no more of its orders are removed", path.display())]
    Mismatch { path: PathBuf, fault: &'static str },
}

impl From<ArchiveError> for StoreError {
    fn from(error: ArchiveError) -> Self {
        Self::internal(error)
    }
}

/// Adds the path to an error.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> ArchiveError + '_ {
    |source| ArchiveError::Io {
        path: path.to_owned(),
        source,
    }
}

/// The directory of the archive, as one database uses it.
#[derive(Clone, Debug)]
pub(super) struct ArchiveDirectory {
    path: PathBuf,
    database: DatabaseId,
}

impl ArchiveDirectory {
    pub(super) fn new(path: &Path, database: DatabaseId) -> Self {
        Self {
            path: path.to_owned(),
            database,
        }
    }

    /// The path of a name.
    pub(super) fn join(&self, name: impl ToString) -> PathBuf {
        self.path.join(name.to_string())
    }

    /// Removes files that earlier runs have not completed. A run locks the file that it writes.
    pub(super) fn remove_abandoned(&self) -> Result<(), ArchiveError> {
        for name in self.files()?.iter().filter(|name| is_partial(name)) {
            let path = self.join(name);
            if let Ok(file) = File::open(&path)
                && file.try_lock().is_ok()
            {
                fs::remove_file(&path).map_err(at(&path))?;
                log::info!(file:% = path.display(); "removed an incomplete file of the archive");
            }
        }
        Ok(())
    }

    /// The files that earlier runs of this database have not finished.
    pub(super) fn pending(&self) -> Result<Vec<PendingFile>, ArchiveError> {
        let mut found = Vec::new();
        for name in self.files()? {
            let Some(name) = PendingName::parse(&name) else {
                continue;
            };
            if name.database == self.database {
                found.extend(PendingFile::open(self, name)?);
            } else {
                log::warn!(file:% = name; "a pending file of the archive belongs to another database");
            }
        }
        Ok(found)
    }

    /// The names of all files. What is not a file, such as a directory, is not a part of the archive.
    fn files(&self) -> Result<Vec<String>, ArchiveError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(at(&self.path))? {
            let entry = entry.map_err(at(&self.path))?;
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if is_file && let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Stores the names of the files on disk.
    pub(super) fn sync(&self) -> Result<(), ArchiveError> {
        let stored = File::open(&self.path).and_then(|directory| directory.sync_all());
        stored.map_err(at(&self.path))
    }

    /// Writes the checksum of a file in the format of `sha256sum`.
    pub(super) fn write_checksum(&self, file: &FileName, sha256: &str) -> Result<(), ArchiveError> {
        let name = file.checksum();
        let (path, partial) = (self.join(&name), self.join(format!("{name}.partial")));
        let line = format!("{sha256}  {file}\n");
        let stored = File::create(&partial).and_then(|mut file| {
            file.write_all(line.as_bytes())?;
            file.sync_all()?;
            fs::rename(&partial, &path)
        });
        stored.map_err(at(&path))?;
        self.sync()
    }
}

/// A file that is being written. It is removed on drop unless it was stored.
pub(super) struct ArchiveWriter {
    directory: ArchiveDirectory,
    name: FileName,
    partial: PathBuf,
    /// `None` once it was stored.
    file: Option<BufWriter<File>>,
    hash: Sha256,
    pub(super) orders: u64,
    pub(super) bytes: u64,
}

impl ArchiveWriter {
    pub(super) fn create(
        directory: &ArchiveDirectory,
        name: FileName,
    ) -> Result<Self, ArchiveError> {
        let partial = directory.join(name.partial());
        let mut options = OpenOptions::new();
        // The orders may contain personal data. An earlier run may have left a file of this name.
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&partial).map_err(at(&partial))?;
        // Some file systems have no locks. Then an abandoned file stays.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(ArchiveError::Locked(partial));
        }
        file.set_len(0).map_err(at(&partial))?;
        Ok(Self {
            directory: directory.clone(),
            name,
            file: Some(BufWriter::with_capacity(1 << 16, file)),
            partial,
            hash: Sha256::new(),
            orders: 0,
            bytes: 0,
        })
    }

    /// Writes an order as a line.
    pub(super) fn write(&mut self, json: &str) -> Result<(), ArchiveError> {
        for part in [json.as_bytes(), b"\n"] {
            if let Some(file) = &mut self.file {
                file.write_all(part).map_err(at(&self.partial))?;
            }
            self.hash.update(part);
            self.bytes += u64::try_from(part.len()).unwrap_or_default();
        }
        self.orders += 1;
        Ok(())
    }

    /// Writes the file to disk, and gives it its pending name.
    pub(super) fn into_pending(mut self, tenant: &Tenant) -> Result<PendingFile, ArchiveError> {
        let name = PendingName {
            file: self.name.clone(),
            tenant: tenant.clone(),
            database: self.directory.database.clone(),
            sha256: self.sha256(),
        };
        let file = self.sync()?;
        let path = self.directory.join(&name);
        fs::rename(&self.partial, &path).map_err(at(&self.partial))?;
        self.file = None;
        self.directory.sync()?;
        Ok(PendingFile::new(&self.directory, name, file))
    }

    /// Writes the file to disk, reads it back, and gives it the name of a finished file.
    pub(super) fn into_finished(mut self) -> Result<ArchiveFile, ArchiveError> {
        let sha256 = self.sha256();
        let _file = self.sync()?;
        let content = content_of(&self.partial)?;
        if content.sha256 != sha256 {
            return Err(ArchiveError::Mismatch {
                path: self.partial.clone(),
                fault: "its content is not what was written",
            });
        }
        self.directory.write_checksum(&self.name, &sha256)?;
        let path = self.directory.join(&self.name);
        fs::rename(&self.partial, path).map_err(at(&self.partial))?;
        self.file = None;
        self.directory.sync()?;
        Ok(content.of(&self.name))
    }

    fn sha256(&self) -> String {
        hex(&self.hash.clone().finalize())
    }

    /// Writes everything to disk. Returns the file, which is locked as long as it is open.
    fn sync(&mut self) -> Result<File, ArchiveError> {
        let synced = self.file.as_mut().map(|file| {
            file.flush()?;
            file.get_ref().sync_all()?;
            file.get_ref().try_clone()
        });
        let missing = || io::Error::other("it was stored already");
        let synced = synced.unwrap_or_else(|| Err(missing()));
        synced.map_err(at(&self.partial))
    }
}

impl Drop for ArchiveWriter {
    fn drop(&mut self) {
        if self.file.is_some() {
            // The error that led here is reported, and the next run removes the file.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

#[cfg(test)]
mod tests;
