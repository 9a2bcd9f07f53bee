//! The location of an SQLite database, from its URL.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

use crate::config::DatabaseUrl;

/// The characters that end or change the path in SQLite's own URIs (SQLite manual, "Uniform Resource
/// Identifiers").
const NOT_IN_A_PATH: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');

/// A database in a file, or in the memory of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    Memory,
    File { path: PathBuf, mode: Mode },
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// For reading and writing. The file is created if it does not exist.
    Create,
    /// For reading and writing. The file must exist.
    Write,
    /// For reading only. The file must exist.
    Read,
}

/// A fault in the URL of an SQLite database.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum LocationError {
    #[error("a # in a path is written %23")]
    NumberSign,
    #[error("a % in a path is written %25")]
    PercentSign,
    #[error("the path is not UTF-8")]
    NotUtf8,
    #[error("the path names no file")]
    NoFile,
    #[error("a database in memory is sqlite::memory:")]
    MemoryAsPath,
    #[error("mode=memory would not use the file; a database in memory is sqlite::memory:")]
    MemoryAsMode,
    #[error("mode takes rwc, rw or ro")]
    Mode,
    #[error("cache takes private only")]
    Cache,
    #[error("the parameter {0} is not supported")]
    UnsupportedParameter(String),
    /// Probably the rest of a path that contains a `?`.
    #[error("a parameter is not supported; a ? in a path is written %3F")]
    UnsupportedName,
}

impl Location {
    /// Reads a URL: `sqlite::memory:`, or `sqlite://` with a path and, after a `?`, parameters of SQLite.
    /// Parameters with which SQLite would open another database than the path names are rejected.
    pub(super) fn parse(url: &DatabaseUrl) -> Result<Self, LocationError> {
        let text = url.expose();
        if text == "sqlite::memory:" {
            return Ok(Self::Memory);
        }
        let text = text.strip_prefix("sqlite://").unwrap_or(text);
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        if path.contains('#') || query.contains('#') {
            return Err(LocationError::NumberSign);
        }
        let path = decode(path)?;
        if path.is_empty() || path.ends_with('/') {
            return Err(LocationError::NoFile);
        }
        if path.contains(":memory:") {
            return Err(LocationError::MemoryAsPath);
        }
        let path = PathBuf::from(path);
        let mode = mode(query)?;
        Ok(Self::File { path, mode })
    }
}

impl Location {
    /// The same location, of a file that is not created if it does not exist.
    pub(super) fn existing(self) -> Self {
        match self {
            Self::File {
                path,
                mode: Mode::Create,
            } => Self::File {
                path,
                mode: Mode::Write,
            },
            other => other,
        }
    }
}

/// The mode from the parameters of the URL.
fn mode(query: &str) -> Result<Mode, LocationError> {
    let mut mode = Mode::Create;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        mode = match (name, value) {
            // An empty value counts as absent, and a private cache is the default.
            ("mode" | "cache", "") | ("cache", "private") => mode,
            ("mode", "rwc") => Mode::Create,
            ("mode", "rw") => Mode::Write,
            ("mode", "ro") => Mode::Read,
            ("mode", "memory") => return Err(LocationError::MemoryAsMode),
            ("mode", _) => return Err(LocationError::Mode),
            // With a shared cache, SQLite does not wait for locks.
            ("cache", _) => return Err(LocationError::Cache),
            (name, _) if name.len() <= 40 && name.bytes().all(|b| b.is_ascii_lowercase()) => {
                return Err(LocationError::UnsupportedParameter(name.to_owned()));
            }
            _ => return Err(LocationError::UnsupportedName),
        };
    }
    Ok(mode)
}

/// Formats the location as a URI of SQLite.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::File { path, mode } = self else {
            return f.write_str(":memory:");
        };
        let path = path.to_string_lossy();
        // Adds an empty host, so that a path that begins with `//` is not read as a host.
        let host = if path.starts_with('/') { "//" } else { "" };
        let mode = match mode {
            Mode::Create => "rwc",
            Mode::Write => "rw",
            Mode::Read => "ro",
        };
        let path = utf8_percent_encode(&path, NOT_IN_A_PATH);
        write!(f, "file:{host}{path}?mode={mode}")
    }
}

fn decode(path: &str) -> Result<String, LocationError> {
    let is_escape = |part: &str| {
        let mut digits = part.bytes();
        let mut hexadecimal = || digits.next().is_some_and(|digit| digit.is_ascii_hexdigit());
        hexadecimal() && hexadecimal() && !part.starts_with("00")
    };
    if !path.split('%').skip(1).all(is_escape) {
        return Err(LocationError::PercentSign);
    }
    let path = percent_decode_str(path).decode_utf8();
    path.map(Into::into).map_err(|_| LocationError::NotUtf8)
}

/// Checks the URL of an SQLite database without opening the database.
pub(crate) fn check_sqlite_url(url: &DatabaseUrl) -> Result<(), LocationError> {
    Location::parse(url).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Result<String, LocationError> {
        let location = Location::parse(&DatabaseUrl::parse(text).unwrap());
        location.map(|location| location.to_string())
    }

    #[test]
    fn a_path_names_the_same_file_to_sqlite() {
        for (url, expected) in [
            ("sqlite://orders.db", "file:orders.db?mode=rwc"),
            ("sqlite:///a/b.db?mode=rw", "file:///a/b.db?mode=rw"),
            ("sqlite:////a/b.db", "file:////a/b.db?mode=rwc"),
            ("sqlite://b.db?mode=ro&cache=private", "file:b.db?mode=ro"),
            ("sqlite://b.db?mode=&cache=", "file:b.db?mode=rwc"),
            (
                "sqlite://a%20%25%3F%23é.db",
                "file:a %25%3F%23%C3%A9.db?mode=rwc",
            ),
        ] {
            assert_eq!(uri(url).as_deref(), Ok(expected), "{url}");
        }
    }

    #[test]
    fn a_url_that_sqlite_would_read_as_another_database_is_rejected() {
        for (url, expected) in [
            ("sqlite://orders.db?mode=memory", "sqlite::memory:"),
            ("sqlite://%3Amemory%3A", "sqlite::memory:"),
            ("sqlite://?mode=ro", "names no file"),
            ("sqlite:///", "names no file"),
            ("sqlite://a#b.db", "%23"),
            ("sqlite://100%.db", "%25"),
            ("sqlite://100%2.db", "%25"),
            ("sqlite://a%00.db", "%25"),
            ("sqlite://%ff.db", "UTF-8"),
            ("sqlite://what?.db", "%3F"),
            ("sqlite://b.db?mode=rwx", "mode takes"),
            ("sqlite://b.db?cache=shared", "cache takes"),
            ("sqlite://b.db?immutable=1", "immutable"),
            ("sqlite://b.db?vfs=memdb", "vfs"),
            ("sqlite://b.db?nolock=1", "nolock"),
        ] {
            let message = uri(url).unwrap_err().to_string();
            assert!(message.contains(expected), "{url}: {message}");
        }
    }
}
