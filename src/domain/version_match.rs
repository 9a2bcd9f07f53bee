//! The versions of an order that a conditional request names.

/// Which versions a condition matches (`If-Match` and `If-None-Match`, RFC 9110, sections 13.1.1 and
/// 13.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// Every version: `*`.
    Any,
    /// One of these versions.
    Versions(Vec<i32>),
}

impl IfMatch {
    /// Whether `version` matches.
    pub fn allows(&self, version: i32) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }
}
