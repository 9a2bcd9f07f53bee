//! Parses JSON, and reports precisely why a text is rejected.

use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_path_to_error::{Path, Segment};

use crate::domain::{Violation, pointer_token};

/// Why a text is rejected.
#[derive(Debug)]
pub(crate) enum Rejected {
    /// It is not JSON (RFC 8259), for this reason.
    Malformed(String),
    /// It is JSON, but not that of the type.
    Invalid(Violation),
}

/// Parses an object.
///
/// # Errors
/// [`Rejected`].
pub(crate) fn parse<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, Rejected> {
    // serde accepts an array for a struct, field by field. A client that sends one has made a mistake.
    let object = json.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if object && let Ok(value) = serde_json::from_slice(json) {
        return Ok(value);
    }
    // Only an invalid text is parsed again, because that takes time: first to find out whether it is JSON, then to
    // find out where it does not match `T`. RFC 8259 requires UTF-8, which serde_json checks only in the strings
    // that it keeps.
    let malformed = |why: &dyn fmt::Display| Rejected::Malformed(why.to_string());
    let text = std::str::from_utf8(json).map_err(|error| malformed(&error))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| malformed(&error))?;
    if !object {
        return Err(Rejected::Invalid(Violation::new("", "must be an object")));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let error = match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    // serde_json appends the line and the column. The pointer is more useful.
    let text = error.inner().to_string();
    let detail = text.split(" at line ").next().unwrap_or_default();
    // The grammar of the text is that of JSON. A number out of range does not match `T`. Everything else that
    // serde_json reports as a syntax error is not accepted at all, such as nesting that is too deep or half of a
    // surrogate pair. Only the text of the error distinguishes the two.
    if error.inner().is_syntax() && detail != "number out of range" {
        return Err(malformed(error.inner()));
    }
    Err(Rejected::Invalid(Violation::new(
        pointer(error.path()),
        detail,
    )))
}

fn pointer(path: &Path) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Map { key } => format!("/{}", pointer_token(key)),
            Segment::Seq { index } => format!("/{index}"),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => "/".to_owned(),
        })
        .collect()
}
