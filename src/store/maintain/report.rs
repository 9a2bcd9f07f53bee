//! The report of a run.

use serde::Serialize;

/// What a run has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MaintainReport {
    /// Another process maintains the database, so this run has done nothing.
    pub already_running: bool,
    /// A signal has ended the run early. The next run continues.
    pub interrupted: bool,
    /// Partitions that were created.
    pub partitions_created: Vec<String>,
    /// Partitions that were removed with their events.
    pub partitions_removed: Vec<String>,
    /// Partitions from which statistics of personal data were removed.
    pub statistics_removed: Vec<String>,
    /// What has to wait for the next run.
    pub postponed: Vec<Postponed>,
    /// Events that were removed one by one, not with their partition.
    pub events_removed: u64,
    /// Idempotency keys that were removed because of their age.
    pub idempotency_keys_removed: u64,
    /// Orders that were archived and removed.
    pub orders_archived: u64,
    /// Orders that changed while they were archived. They were not removed.
    pub orders_changed: u64,
    /// Records of archived orders that were removed after the last of their events.
    pub archived_orders_forgotten: u64,
    /// The files of the archive that were written.
    pub files: Vec<ArchiveFile>,
}

/// Work that has to wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Postponed {
    /// The partition.
    pub partition: String,
    /// Why it has to wait.
    pub reason: String,
}

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchiveFile {
    /// Its name in the directory of the archive.
    pub name: String,
    /// The number of orders in it.
    pub orders: u64,
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
}
