//! The lock of the maintenance of an SQLite file.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::store::StoreError;
use crate::store::error::StoreFault;

/// A lock of the system on a file beside the database, which ends with the process. The file stays: a process that
/// removed it could remove the one that another process has just locked.
pub(super) struct MaintenanceLock {
    _file: File,
}

impl MaintenanceLock {
    /// Returns `None` if another process holds the lock.
    pub(super) fn try_acquire(database: &Path) -> Result<Option<Self>, StoreError> {
        let mut path = database.as_os_str().to_owned();
        path.push(".maintain");
        let path = PathBuf::from(path);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let fault = |source| StoreFault::MaintenanceLock {
            path: path.clone(),
            source,
        };
        let file = options.open(&path).map_err(fault)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(fault(source).into()),
        }
    }
}
