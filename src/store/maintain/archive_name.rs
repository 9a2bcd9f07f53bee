//! The names of the files of the archive, which say in which state a file is.
//!
//! | name | contents |
//! |---|---|
//! | `orders-….ndjson.partial` | the beginning of a file; nothing of it was removed from the database |
//! | `orders-….ndjson.DATABASE.SHA256.pending` | a complete file; some of its orders may be removed |
//! | `orders-….ndjson` | a finished file; all of its orders are removed |
//! | `orders-….ndjson.sha256` | the checksum of a finished file |

use std::fmt::{self, Write as _};

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::domain::Tenant;

/// The end of the name of a file that is not complete.
pub(super) const PARTIAL: &str = ".partial";
/// The end of the name of a file that is complete, but not finished.
const PENDING: &str = ".pending";
const ORDERS: &str = "orders-";
const NDJSON: &str = ".ndjson";
/// The hexadecimal digits of a [`DatabaseId`].
const ID_DIGITS: usize = 16;
/// The hexadecimal digits of a SHA-256.
const HASH_DIGITS: usize = 64;

/// Identifies the database of a file, because several databases may share a directory. Only the database itself can
/// decide which orders of a pending file are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DatabaseId(String);

impl DatabaseId {
    /// The id of the database with this key of cursors, which is random and follows dumps and failovers. The id
    /// discloses nothing of the key.
    pub(super) fn of(cursor_key: &[u8]) -> Self {
        let hash = Sha256::new_with_prefix(b"order-service archive ").chain_update(cursor_key);
        let mut id = hex(&hash.finalize());
        id.truncate(ID_DIGITS);
        Self(id)
    }
}

/// The name of a finished file: tenant, first order, and time of the run. A tenant has only characters that are safe in
/// the names of files. The random bits of the id distinguish files of several databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileName(String);

impl FileName {
    pub(super) fn new(tenant: &Tenant, first: Uuid, run: DateTime<Utc>) -> Self {
        Self(format!(
            "{ORDERS}{tenant}-{first}-{}{NDJSON}",
            run.format("%Y%m%dT%H%M%S%6fZ"),
            tenant = tenant.as_str(),
        ))
    }

    /// The tenant in a name. `None` if it is not the name of a file of the archive.
    fn tenant(name: &str) -> Option<Tenant> {
        let rest = name.strip_prefix(ORDERS)?.strip_suffix(NDJSON)?;
        let (rest, _time) = rest.rsplit_once('-')?;
        // A tenant may contain hyphens, as the id does.
        let id = rest.get(rest.len().checked_sub(36)?..)?;
        Uuid::parse_str(id).ok()?;
        let tenant = rest.strip_suffix(id)?.strip_suffix('-')?;
        Tenant::parse(tenant).ok()
    }

    /// The name while the file is written.
    pub(super) fn partial(&self) -> String {
        format!("{self}{PARTIAL}")
    }

    /// The name of its checksum.
    pub(super) fn checksum(&self) -> String {
        format!("{self}.sha256")
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a pending file. It contains the checksum, so that both are stored at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PendingName {
    /// The name that the file gets when it is finished.
    pub(super) file: FileName,
    pub(super) tenant: Tenant,
    pub(super) database: DatabaseId,
    /// The SHA-256 of the content, in hexadecimal digits.
    pub(super) sha256: String,
}

impl PendingName {
    /// `None` if it is not the name of a pending file.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (rest, sha256) = name.strip_suffix(PENDING)?.rsplit_once('.')?;
        let (file, database) = rest.rsplit_once('.')?;
        let is_hex = |text: &str, digits| {
            text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let valid = is_hex(database, ID_DIGITS) && is_hex(sha256, HASH_DIGITS);
        valid.then_some(Self {
            tenant: FileName::tenant(file)?,
            file: FileName(file.to_owned()),
            database: DatabaseId(database.to_owned()),
            sha256: sha256.to_owned(),
        })
    }
}

impl fmt::Display for PendingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}.{}{PENDING}",
            self.file, self.database.0, self.sha256
        )
    }
}

/// Whether this is the name of a file that an earlier run may not have completed.
pub(super) fn is_partial(name: &str) -> bool {
    name.starts_with(ORDERS) && name.ends_with(PARTIAL)
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_pending_file_has_all_that_finishes_it() {
        for tenant in ["default", "..", "a-b.c_d", "0-0", &"t".repeat(64)] {
            let tenant = Tenant::parse(tenant).unwrap();
            let name = PendingName {
                file: FileName::new(&tenant, Uuid::now_v7(), Utc::now()),
                tenant,
                database: DatabaseId::of(b"key"),
                sha256: hex(&Sha256::digest(b"content")),
            };
            let text = name.to_string();
            assert_eq!(PendingName::parse(&text), Some(name));
            // The maximum length of most file systems.
            assert!(text.len() <= 255, "{text}");
        }
    }

    #[test]
    fn other_names_are_not_those_of_pending_files() {
        let file = FileName::new(&Tenant::default(), Uuid::nil(), DateTime::UNIX_EPOCH);
        let (id, hash) = ("0123456789abcdef", "0".repeat(64));
        let short = "0".repeat(63);
        assert!(PendingName::parse(&format!("{file}.{id}.{hash}.pending")).is_some());
        for name in [
            file.to_string(),
            file.partial(),
            file.checksum(),
            format!("{file}.pending"),
            format!("{file}.{hash}.pending"),
            format!("{file}.{id}.{hash}"),
            format!("{file}.{id}.{short}.pending"),
            format!("x{file}.{id}.{hash}.pending"),
            format!("orders-default-x-1.ndjson.{id}.{hash}.pending"),
            format!("orders-A-{}-1.ndjson.{id}.{hash}.pending", Uuid::nil()),
        ] {
            assert_eq!(PendingName::parse(&name), None, "{name}");
        }
    }

    #[test]
    fn databases_have_different_ids() {
        let (one, other) = (DatabaseId::of(b"one"), DatabaseId::of(b"other"));
        assert_ne!(one, other);
        assert_eq!(one.0.len(), ID_DIGITS);
    }
}
