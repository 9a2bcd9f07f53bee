//! The lines that were not imported, with the reasons.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::domain::Violation;

/// The maximum number of reasons that a reject has.
const MAX_ERRORS: usize = 10;

/// Only the owner may read rejects, because they contain personal data.
const MODE: u32 = 0o600;

/// A line that was not imported.
#[derive(Debug, Serialize)]
pub(super) struct Reject {
    /// The number of the line, from 1 on.
    pub(super) line: u64,
    errors: Vec<Reason>,
    /// The order that has the external id.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<Uuid>,
    /// The line: the same JSON, or a string if it is no JSON.
    input: Box<RawValue>,
}

#[derive(Debug, Serialize)]
struct Reason {
    pointer: String,
    detail: String,
}

impl Reject {
    /// # Errors
    /// Never in practice: every text can be written as JSON.
    pub(super) fn new(
        line: u64,
        text: &[u8],
        violations: Vec<Violation>,
    ) -> Result<Self, serde_json::Error> {
        let json = std::str::from_utf8(text).ok().map(str::to_owned);
        let json = json.and_then(|json| RawValue::from_string(json).ok());
        let input = match json {
            Some(json) => json,
            None => RawValue::from_string(serde_json::to_string(&String::from_utf8_lossy(text))?)?,
        };
        let errors = violations
            .into_iter()
            .take(MAX_ERRORS)
            .map(|violation| Reason {
                pointer: violation.pointer,
                detail: violation.detail,
            });
        Ok(Self {
            line,
            errors: errors.collect(),
            order_id: None,
            input,
        })
    }

    /// The bytes of the line.
    pub(super) fn bytes(&self) -> usize {
        self.input.get().len()
    }

    /// Adds the order that has the external id.
    pub(super) fn with_order_id(mut self, order_id: Uuid) -> Self {
        self.order_id = Some(order_id);
        self
    }
}

/// The file of the rejects. It is created for the first one, and then replaces that of an earlier import.
pub(super) struct RejectFile {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl RejectFile {
    /// # Errors
    /// When something else has this path.
    pub(super) fn new(path: PathBuf) -> io::Result<Self> {
        check_replaceable(&path)?;
        Ok(Self { path, file: None })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes rejects, up to the operating system, so that they are complete when the process is killed.
    pub(super) fn write(&mut self, rejects: &[Reject]) -> io::Result<()> {
        if rejects.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::new(create(&self.path)?)),
        };
        for reject in rejects {
            serde_json::to_writer(&mut *file, reject)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    }

    /// Ends a complete import. Removes the file of an earlier one if there are no rejects any more, unless this was a
    /// trial.
    pub(super) fn finish(self, is_trial: bool) -> io::Result<()> {
        match self.file {
            Some(file) => file
                .into_inner()
                .map_err(io::IntoInnerError::into_error)?
                .sync_all(),
            None if is_trial => Ok(()),
            None => match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }
}

/// Checks that the path is free, or has an empty file or the rejects of an earlier import. No other file is replaced.
fn check_replaceable(path: &Path) -> io::Result<()> {
    const BEGINNING: &[u8] = br#"{"line":"#;
    let found = match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let mut beginning = Vec::new();
    if found.is_file() {
        let length = u64::try_from(BEGINNING.len()).unwrap_or(u64::MAX);
        File::open(path)?.take(length).read_to_end(&mut beginning)?;
    }
    if found.is_file() && (beginning.is_empty() || beginning == BEGINNING) {
        return Ok(());
    }
    Err(io::Error::other(
        "is there already and has no rejects; name another file with --rejects",
    ))
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(path)?;
    // The mode above applies only to a new file.
    file.set_permissions(Permissions::from_mode(MODE))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &[u8]) -> String {
        let violations = vec![Violation::new("/a", "is wrong"); 2 * MAX_ERRORS];
        let reject = Reject::new(7, text, violations).unwrap();
        assert_eq!(reject.errors.len(), MAX_ERRORS);
        serde_json::to_string(&reject.input).unwrap()
    }

    #[test]
    fn the_input_is_the_line_or_a_string() {
        assert_eq!(json(b" {\"a\": 1} "), r#"{"a": 1}"#);
        assert_eq!(json(b"{\"a\""), r#""{\"a\"""#);
        assert_eq!(json(b"\xff\0"), "\"\u{fffd}\\u0000\"");
    }

    #[test]
    fn the_file_is_private_and_exists_only_if_there_are_rejects() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rejects");
        let reject = || Reject::new(1, b"{}", vec![Violation::new("", "x")]).unwrap();
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let mut file = RejectFile::new(path.clone()).unwrap();
        file.write(&[]).unwrap();
        assert!(!path.exists());
        file.write(&[reject(), reject()]).unwrap();
        file.finish(false).unwrap();
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let mut file = RejectFile::new(path.clone()).unwrap();
        file.write(&[reject()]).unwrap();
        assert_eq!(mode(), 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "{\"line\":1,\"errors\":[{\"pointer\":\"\",\"detail\":\"x\"}],\"input\":{}}\n"
        );
        drop(file);
        let earlier = || RejectFile::new(path.clone()).unwrap();
        earlier().finish(true).unwrap();
        assert!(path.exists(), "a trial removes nothing");
        earlier().finish(false).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn no_other_file_is_replaced_or_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        assert!(RejectFile::new(dir.path().to_owned()).is_err());
        assert!(RejectFile::new(PathBuf::from("/dev/null")).is_err());
        std::fs::write(&path, "{\"line").unwrap();
        assert!(RejectFile::new(path.clone()).is_err());
        std::fs::write(&path, "").unwrap();
        assert!(RejectFile::new(path.clone()).is_ok());
    }
}
