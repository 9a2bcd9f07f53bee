//! The key-value pairs that a client may attach to an order.

use std::collections::BTreeMap;

use super::{Violation, pointer_token};

/// At most 50 entries with keys of at most 40 and values of at most 500 characters.
///
/// Sorted by key, so that equal metadata has one form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// The maximum number of entries.
    pub const MAX_ENTRIES: usize = 50;
    /// The maximum number of characters of a key.
    pub const MAX_KEY_CHARS: usize = 40;
    /// The maximum number of characters of a value.
    pub const MAX_VALUE_CHARS: usize = 500;

    /// The length of all keys and values in bytes.
    pub fn bytes(&self) -> usize {
        self.0
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum()
    }

    /// Validates the entries.
    ///
    /// # Errors
    /// Every violation found, with pointers below `/metadata`.
    pub fn parse(entries: BTreeMap<String, String>) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        if entries.len() > Self::MAX_ENTRIES {
            violations.push(Violation::new(
                "/metadata",
                format!(
                    "must have at most {} entries, has {}",
                    Self::MAX_ENTRIES,
                    entries.len()
                ),
            ));
        }
        // A violation takes more bytes than an entry, so only as many are reported as an order may have entries.
        let each = entries.iter().take(Self::MAX_ENTRIES);
        let each = each.map(|(k, v)| (k.as_str(), Some(v.as_str())));
        violations.extend(Self::check_entries(each).err().unwrap_or_default());
        if violations.is_empty() {
            Ok(Self(entries))
        } else {
            Err(violations)
        }
    }

    /// Validates each entry by itself. An entry without a value has only its key validated.
    pub(super) fn check_entries<'a>(
        entries: impl Iterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Result<(), Vec<Violation>> {
        let violations: Vec<_> = entries
            .filter_map(|(key, value)| {
                let detail = key_error(key).or_else(|| value.and_then(value_error))?;
                let pointer = format!("/metadata/{}", pointer_token(key));
                Some(Violation::new(pointer, detail))
            })
            .collect();
        if violations.is_empty() {
            Ok(())
        } else {
            Err(violations)
        }
    }

    /// Creates metadata from entries that were validated before they were stored.
    pub fn from_stored(entries: BTreeMap<String, String>) -> Self {
        Self(entries)
    }

    /// The entries, sorted by key.
    pub fn entries(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

fn key_error(key: &str) -> Option<String> {
    let chars = key.chars().count();
    if chars == 0 {
        Some("the key must not be empty".to_owned())
    } else if chars > Metadata::MAX_KEY_CHARS {
        Some(format!(
            "the key must have at most {} characters, has {chars}",
            Metadata::MAX_KEY_CHARS
        ))
    } else if key.chars().any(char::is_control) {
        Some("the key must not contain control characters".to_owned())
    } else {
        None
    }
}

fn value_error(value: &str) -> Option<String> {
    let chars = value.chars().count();
    if chars > Metadata::MAX_VALUE_CHARS {
        Some(format!(
            "must have at most {} characters, has {chars}",
            Metadata::MAX_VALUE_CHARS
        ))
    } else if value.contains('\0') {
        // PostgreSQL's jsonb rejects U+0000 (PostgreSQL manual, section 8.14).
        Some("must not contain U+0000".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> Result<Metadata, Vec<Violation>> {
        Metadata::parse(BTreeMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn limits_are_inclusive() {
        assert!(one(&"k".repeat(40), &"v".repeat(500)).is_ok());
        assert!(one(&"k".repeat(41), "v").is_err());
        assert!(one("k", &"v".repeat(501)).is_err());
        assert!(one("", "v").is_err());
        assert!(one("k", "line\nbreak").is_ok());
        assert!(one("k", "\0").is_err());
        let entries = |n: usize| (0..n).map(|i| (i.to_string(), String::new())).collect();
        assert!(Metadata::parse(entries(50)).is_ok());
        assert!(Metadata::parse(entries(51)).is_err());
    }

    #[test]
    fn only_as_many_violations_are_reported_as_an_order_may_have_entries() {
        let entries = (0..1_000).map(|i| (format!("\u{7}{i}"), String::new()));
        let violations = Metadata::parse(entries.collect()).unwrap_err();
        assert_eq!(violations.len(), 1 + Metadata::MAX_ENTRIES);
    }

    #[test]
    fn a_violation_names_its_entry_with_an_escaped_pointer() {
        let violations = one("a/b~c", &"v".repeat(501)).unwrap_err();
        assert_eq!(violations[0].pointer, "/metadata/a~1b~0c");
    }
}
