//! Where an SQLite database is, as its URL says.

use std::fmt;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use rustix::fs::{Access, access};

use crate::config::DatabaseUrl;

/// What ends or changes the path in SQLite's own URIs (SQLite manual, "Uniform Resource Identifiers").
const NOT_IN_A_PATH: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');

/// A database in a file, or in this process's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    Memory,
    File { path: PathBuf, mode: Mode },
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is made if it is not there.
    Create,
    /// It must be there.
    Write,
    /// It must be there, and nothing is written.
    Read,
}

impl Location {
    /// Reads a URL: `sqlite::memory:`, or `sqlite://` with a path and, behind a `?`, parameters of
    /// SQLite. What would name another database than the path says is refused.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(url: &DatabaseUrl) -> Result<Self, String> {
        let text = url.expose();
        if text == "sqlite::memory:" {
            return Ok(Self::Memory);
        }
        let text = text.strip_prefix("sqlite://").unwrap_or(text);
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        if path.contains('#') || query.contains('#') {
            return Err("a # in a path is written %23".to_owned());
        }
        let path = decode(path)?;
        if path.is_empty() || path.ends_with('/') {
            return Err("the path names no file".to_owned());
        }
        if path.contains(":memory:") {
            return Err("a database in memory is sqlite::memory:".to_owned());
        }
        let mut mode = Mode::Create;
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            mode = match (name, value) {
                // As everywhere, an empty value counts as none. A cache of its own is the default.
                ("mode" | "cache", "") | ("cache", "private") => mode,
                ("mode", "rwc") => Mode::Create,
                ("mode", "rw") => Mode::Write,
                ("mode", "ro") => Mode::Read,
                ("mode", "memory") => {
                    return Err(
                        "mode=memory would not use the file; a database in memory is sqlite::memory:"
                            .to_owned(),
                    );
                }
                ("mode", _) => return Err("mode takes rwc, rw or ro".to_owned()),
                // With a shared cache SQLite does not wait for locks.
                ("cache", _) => return Err("cache takes private only".to_owned()),
                (name, _) if name.len() <= 40 && name.bytes().all(|b| b.is_ascii_lowercase()) => {
                    return Err(format!("the parameter {name} is not supported"));
                }
                _ => {
                    return Err(
                        "a parameter is not supported; a ? in a path is written %3F".to_owned()
                    );
                }
            };
        }
        let path = PathBuf::from(path);
        Ok(Self::File { path, mode })
    }

    /// Checks that the database can be opened as the URL says. SQLite itself opens a file that it may
    /// not write for reading only, and says little about a folder that it may not write.
    ///
    /// # Errors
    /// What is in the way.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self::File { path, mode } = self else {
            return Ok(());
        };
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        if !folder.is_dir() {
            return Err(format!("there is no folder {}", folder.display()));
        }
        if path.is_dir() {
            return Err(format!("{} is a folder", path.display()));
        }
        // An error is SQLite's to tell: it may be passing.
        let exists = path.try_exists().unwrap_or(true);
        if !exists && *mode != Mode::Create {
            return Err(format!("there is no file {}", path.display()));
        }
        if *mode == Mode::Read {
            return Ok(());
        }
        let writable = |path: &Path| {
            access(path, Access::WRITE_OK)
                .map_err(|error| format!("{} cannot be written: {error}", path.display()))
        };
        if exists {
            writable(path)?;
        }
        // Beside the file SQLite keeps two more.
        writable(folder)
    }
}

/// As a URI of SQLite.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::File { path, mode } = self else {
            return f.write_str(":memory:");
        };
        let path = path.to_string_lossy();
        // With an empty host, lest the path begin with one.
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

fn decode(path: &str) -> Result<String, String> {
    let is_escape = |part: &str| {
        let mut digits = part.bytes();
        let mut hexadecimal = || digits.next().is_some_and(|digit| digit.is_ascii_hexdigit());
        hexadecimal() && hexadecimal() && !part.starts_with("00")
    };
    if !path.split('%').skip(1).all(is_escape) {
        return Err("a % in a path is written %25".to_owned());
    }
    let path = percent_decode_str(path).decode_utf8();
    path.map(Into::into)
        .map_err(|_| "the path is not UTF-8".to_owned())
}

/// Checks the URL of an SQLite database without opening it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_sqlite_url(url: &DatabaseUrl) -> Result<(), String> {
    Location::parse(url).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Result<String, String> {
        let location = Location::parse(&DatabaseUrl::parse(text).unwrap());
        location.map(|location| location.to_string())
    }

    #[test]
    fn a_path_means_the_same_to_sqlite() {
        for (url, meant) in [
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
            assert_eq!(uri(url).as_deref(), Ok(meant), "{url}");
        }
    }

    #[test]
    fn what_would_be_another_database_is_refused() {
        for (url, told) in [
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
            let message = uri(url).unwrap_err();
            assert!(message.contains(told), "{url}: {message}");
        }
    }
}
