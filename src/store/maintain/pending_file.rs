//! Finishes files of the archive whose orders are removed.
//!
//! A pending file never changes. When its orders are removed, it becomes the finished file, or if some of its orders
//! stay, a finished file without their lines takes its place. So after a kill, either the pending file or the finished
//! one has the line of each order that was removed, and the next run starts again with the pending one.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::archive_file::{ArchiveDirectory, ArchiveError, ArchiveWriter, at};
use super::archive_name::{FileName, PendingName, hex};
use super::report::ArchiveFile;

/// What a file contains.
#[derive(Debug)]
pub(super) struct Content {
    orders: u64,
    bytes: u64,
    /// In hexadecimal digits.
    pub(super) sha256: String,
}

impl Content {
    /// The report of a finished file.
    pub(super) fn of(self, name: &FileName) -> ArchiveFile {
        ArchiveFile {
            name: name.to_string(),
            orders: self.orders,
            bytes: self.bytes,
            sha256: self.sha256,
        }
    }
}

/// Reads a file from the disk, and not from the cache of the system, as far as the file system supports it.
pub(super) fn content_of(path: &Path) -> Result<Content, ArchiveError> {
    let file = File::open(path).map_err(at(path))?;
    let _ = rustix::fs::fadvise(&file, 0, 0, rustix::fs::Advice::DontNeed);
    let (mut lines, mut hash, mut line) = (BufReader::new(file), Sha256::new(), Vec::new());
    let (mut orders, mut bytes) = (0, 0);
    loop {
        let read = lines.read_until(b'\n', &mut line).map_err(at(path))?;
        if read == 0 {
            break;
        }
        hash.update(&line);
        orders += 1;
        bytes += u64::try_from(read).unwrap_or_default();
        line.clear();
    }
    Ok(Content {
        orders,
        bytes,
        sha256: hex(&hash.finalize()),
    })
}

/// A complete file whose orders are being removed.
pub(super) struct PendingFile {
    directory: ArchiveDirectory,
    pub(super) name: PendingName,
    path: PathBuf,
    /// Locked, so that no other run finishes the file at the same time.
    _lock: File,
}

impl PendingFile {
    /// A file that was written to disk. `lock` is the file itself.
    pub(super) fn new(directory: &ArchiveDirectory, name: PendingName, lock: File) -> Self {
        Self {
            path: directory.join(&name),
            directory: directory.clone(),
            name,
            _lock: lock,
        }
    }

    /// Opens a file that an earlier run has left. Returns `None` if there is nothing left to do with it.
    pub(super) fn open(
        directory: &ArchiveDirectory,
        name: PendingName,
    ) -> Result<Option<Self>, ArchiveError> {
        let path = directory.join(&name);
        let lock = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            lock => lock.map_err(at(&path))?,
        };
        // Without locks in the file system, the lock of the database suffices: the other run has lost it.
        let is_locked = matches!(lock.try_lock(), Err(TryLockError::WouldBlock));
        if is_locked || !is_at(&lock, &path) {
            log::warn!(file:% = name; "another run is finishing a file of the archive");
            return Ok(None);
        }
        let found = Self::new(directory, name, lock);
        if !found.directory.join(&found.name.file).exists() {
            return Ok(Some(found));
        }
        // The earlier run was killed after it had finished the file without the lines of some orders.
        directory.sync()?;
        found.remove()?;
        Ok(None)
    }

    pub(super) fn read(&self) -> Result<BufReader<File>, ArchiveError> {
        let file = File::open(&self.path).map_err(at(&self.path))?;
        Ok(BufReader::new(file))
    }

    pub(super) fn error(&self, source: io::Error) -> ArchiveError {
        at(&self.path)(source)
    }

    pub(super) fn mismatch(&self, fault: &'static str) -> ArchiveError {
        ArchiveError::Mismatch {
            path: self.path.clone(),
            fault,
        }
    }

    /// Reads the file back and compares it with what was written. Nothing may be removed before.
    pub(super) fn verify(&self) -> Result<Content, ArchiveError> {
        let content = content_of(&self.path)?;
        if content.sha256 == self.name.sha256 {
            Ok(content)
        } else {
            Err(self.mismatch("its content is not what was written"))
        }
    }

    /// Finishes the file, without the lines of orders that stay. Returns `None` if all of them do.
    pub(super) fn finish(
        self,
        content: Content,
        staying: &HashSet<Uuid>,
    ) -> Result<Option<ArchiveFile>, ArchiveError> {
        let Self {
            directory,
            name: PendingName { file, sha256, .. },
            ..
        } = &self;
        if staying.is_empty() {
            directory.write_checksum(file, sha256)?;
            fs::rename(&self.path, directory.join(file)).map_err(at(&self.path))?;
            directory.sync()?;
            return Ok(Some(content.of(file)));
        }
        let mut rest = ArchiveWriter::create(directory, file.clone())?;
        for line in self.read()?.lines() {
            let line = line.map_err(|error| self.error(error))?;
            let stays = id_of(&line).is_some_and(|id| staying.contains(&id));
            if !stays {
                rest.write(&line)?;
            }
        }
        let removed = u64::try_from(staying.len()).unwrap_or_default();
        if rest.orders + removed != content.orders {
            return Err(self.mismatch("the lines of orders that stay are not found"));
        }
        let finished = (rest.orders > 0)
            .then(|| rest.into_finished())
            .transpose()?;
        if finished.is_none() {
            remove_if_exists(&directory.join(file.checksum()))?;
        }
        self.remove()?;
        Ok(finished)
    }

    fn remove(&self) -> Result<(), ArchiveError> {
        remove_if_exists(&self.path)?;
        self.directory.sync()
    }
}

fn remove_if_exists(path: &Path) -> Result<(), ArchiveError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// Whether the path still names this file.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(one), Ok(other)) => identity(one) == identity(other),
        _ => false,
    }
}

/// The id of the order in a line, which is its first member.
fn id_of(line: &str) -> Option<Uuid> {
    let rest = line.strip_prefix(r#"{"id":""#)?;
    let (id, _) = rest.split_once('"')?;
    Uuid::parse_str(id).ok()
}
