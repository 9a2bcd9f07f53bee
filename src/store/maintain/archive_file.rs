//! The files of the archive. Each has one order a line (NDJSON), as an export has.
//!
//! A file gets its name when it is complete and on disk. Beside it is its checksum in the format of `sha256sum`, which
//! is written after the file was read back.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use uuid::Uuid;

use super::report::ArchiveFile;
use crate::domain::Tenant;
use crate::store::StoreError;

/// The end of the name of a file that is not complete.
const PARTIAL: &str = ".partial";

/// Why orders cannot be archived. Nothing that the file contains was removed.
#[derive(Debug, Error)]
pub(in crate::store) enum ArchiveError {
    #[error("the archive {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the archive {}: {fault}; its orders are not removed", path.display())]
    Mismatch { path: PathBuf, fault: &'static str },
}

impl From<ArchiveError> for StoreError {
    fn from(error: ArchiveError) -> Self {
        Self::internal(error)
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> ArchiveError + '_ {
    |source| ArchiveError::Io {
        path: path.to_owned(),
        source,
    }
}

/// The name of a file: tenant, first order, and time of the run. A tenant has only characters that are safe in the
/// names of files. The random bits of the id distinguish files of several databases.
pub(super) struct FileName(String);

impl FileName {
    pub(super) fn new(tenant: &Tenant, first: Uuid, run: DateTime<Utc>) -> Self {
        let tenant = tenant.as_str();
        Self(format!(
            "orders-{tenant}-{first}-{}.ndjson",
            run.format("%Y%m%dT%H%M%S%6fZ")
        ))
    }
}

/// Removes files that earlier runs have not completed. A run locks the file that it writes.
pub(super) fn remove_abandoned(directory: &Path) -> Result<(), ArchiveError> {
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let path = entry.map_err(at(directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let is_partial =
            name.is_some_and(|name| name.starts_with("orders-") && name.ends_with(PARTIAL));
        if is_partial
            && let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
        {
            fs::remove_file(&path).map_err(at(&path))?;
            log::info!(file:% = path.display(); "removed an incomplete file of the archive");
        }
    }
    Ok(())
}

/// A file that is being written. It is removed on drop unless it was finished.
pub(super) struct ArchiveWriter {
    directory: PathBuf,
    name: FileName,
    partial: PathBuf,
    file: Option<BufWriter<File>>,
    hash: Sha256,
    orders: u64,
    bytes: u64,
}

impl ArchiveWriter {
    pub(super) fn create(directory: &Path, name: FileName) -> Result<Self, ArchiveError> {
        let partial = directory.join(format!("{}{PARTIAL}", name.0));
        let mut options = OpenOptions::new();
        // The orders may contain personal data.
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&partial).map_err(at(&partial))?;
        let writer = Self {
            directory: directory.to_owned(),
            name,
            file: Some(BufWriter::with_capacity(1 << 16, file)),
            partial,
            hash: Sha256::new(),
            orders: 0,
            bytes: 0,
        };
        // Some file systems have no locks. Then an abandoned file stays.
        if let Some(file) = &writer.file {
            let _ = file.get_ref().try_lock();
        }
        Ok(writer)
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

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes the file to disk and gives it its name.
    pub(super) fn finish(mut self) -> Result<WrittenFile, ArchiveError> {
        let path = self.directory.join(&self.name.0);
        if let Some(file) = self.file.take() {
            let file = file.into_inner().map_err(|error| error.into_error());
            let file = file
                .map_err(at(&self.partial))
                .inspect_err(|_| self.discard())?;
            let stored = file
                .sync_all()
                .and_then(|()| fs::rename(&self.partial, &path));
            stored
                .map_err(at(&self.partial))
                .inspect_err(|_| self.discard())?;
        }
        sync_directory(&self.directory)?;
        let sha256 = hex(&std::mem::take(&mut self.hash).finalize());
        Ok(WrittenFile {
            directory: self.directory.clone(),
            path,
            content: Some(ArchiveFile {
                name: self.name.0.clone(),
                orders: self.orders,
                bytes: self.bytes,
                sha256,
            }),
        })
    }

    fn discard(&self) {
        // The error that led here is reported, and the next run removes the file.
        let _ = fs::remove_file(&self.partial);
    }
}

impl Drop for ArchiveWriter {
    fn drop(&mut self) {
        if self.file.is_some() {
            self.discard();
        }
    }
}

/// A file with its name.
pub(super) struct WrittenFile {
    directory: PathBuf,
    path: PathBuf,
    /// What was written. `None` if the file was removed.
    content: Option<ArchiveFile>,
}

impl WrittenFile {
    pub(super) fn open(&self) -> Result<File, ArchiveError> {
        File::open(&self.path).map_err(at(&self.path))
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

    /// Reads the file back and compares it with what was written, then writes its checksum.
    pub(super) fn verify(&self) -> Result<(), ArchiveError> {
        let Some(written) = &self.content else {
            return Ok(());
        };
        let file = self.open()?;
        // Reads the file from the disk, not from the cache of the system, as far as the file system supports it.
        let _ = rustix::fs::fadvise(&file, 0, 0, rustix::fs::Advice::DontNeed);
        let (mut lines, mut hash, mut line) = (BufReader::new(file), Sha256::new(), Vec::new());
        let mut orders = 0_u64;
        while lines
            .read_until(b'\n', &mut line)
            .map_err(|e| self.error(e))?
            > 0
        {
            hash.update(&line);
            orders += 1;
            line.clear();
        }
        if hex(&hash.finalize()) != written.sha256 {
            return Err(self.mismatch("its content is not what was written"));
        }
        if orders != written.orders {
            return Err(self.mismatch("it does not have as many lines as orders were written"));
        }
        self.write_checksum(written)
    }

    fn write_checksum(&self, written: &ArchiveFile) -> Result<(), ArchiveError> {
        let path = self.checksum_path();
        let partial = path.with_extension(format!("sha256{PARTIAL}"));
        let line = format!("{}  {}\n", written.sha256, written.name);
        let stored = File::create(&partial).and_then(|mut file| {
            file.write_all(line.as_bytes())?;
            file.sync_all()?;
            fs::rename(&partial, &path)
        });
        stored.map_err(at(&path))?;
        sync_directory(&self.directory)
    }

    fn checksum_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".sha256");
        path.into()
    }

    /// Replaces the file by one without the lines of these orders. Removes a file without other lines.
    pub(super) fn remove_lines(&mut self, ids: &HashSet<Uuid>) -> Result<(), ArchiveError> {
        let Some(written) = self.content.take() else {
            return Ok(());
        };
        let name = FileName(written.name.clone());
        let mut rest = ArchiveWriter::create(&self.directory, name)?;
        for line in BufReader::new(self.open()?).lines() {
            let line = line.map_err(|error| self.error(error))?;
            let is_removed = id_of(&line).is_some_and(|id| ids.contains(&id));
            if !is_removed {
                rest.write(&line)?;
            }
        }
        if rest.orders + u64::try_from(ids.len()).unwrap_or_default() != written.orders {
            return Err(self.mismatch("the lines of changed orders are not found"));
        }
        // A crash from here on leaves a file without a checksum, not one with a wrong checksum.
        let checksum = self.checksum_path();
        fs::remove_file(&checksum).map_err(at(&checksum))?;
        if rest.orders == 0 {
            fs::remove_file(&self.path).map_err(at(&self.path))?;
            return sync_directory(&self.directory);
        }
        *self = rest.finish()?;
        self.verify()
    }

    pub(super) fn into_report(self) -> Option<ArchiveFile> {
        self.content
    }
}

/// The id of the order in a line, which is its first member.
fn id_of(line: &str) -> Option<Uuid> {
    let rest = line.strip_prefix(r#"{"id":""#)?;
    let (id, _) = rest.split_once('"')?;
    Uuid::parse_str(id).ok()
}

/// Stores the names of the files of a directory.
fn sync_directory(directory: &Path) -> Result<(), ArchiveError> {
    let stored = File::open(directory).and_then(|directory| directory.sync_all());
    stored.map_err(at(directory))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
