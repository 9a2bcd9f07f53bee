//! Tenants: the customers of a shared installation, who see nothing of each other.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The name of a tenant: 1 to 64 of `a-z`, `0-9`, `.`, `_` and `-`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Arc<str>);

/// A text is not the name of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTenant;

impl fmt::Display for InvalidTenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tenant is 1 to 64 of a-z, 0-9, '.', '_' and '-'")
    }
}

impl std::error::Error for InvalidTenant {}

impl Tenant {
    /// The most bytes of a name.
    pub const MAX_BYTES: usize = 64;

    /// Accepts `text` as it is.
    ///
    /// # Errors
    /// [`InvalidTenant`] when it is empty, too long or has other characters.
    pub fn parse(text: &str) -> Result<Self, InvalidTenant> {
        let valid = (1..=Self::MAX_BYTES).contains(&text.len())
            && text
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidTenant)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The tenant of credentials that name none, and of requests without credentials.
impl Default for Tenant {
    fn default() -> Self {
        Self("default".into())
    }
}

/// A map by tenant can be searched by the text of a name.
impl Borrow<str> for Tenant {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Tenant;

    #[test]
    fn names_have_a_small_alphabet() {
        let longest = "a".repeat(64);
        let too_long = "a".repeat(65);
        for (text, valid) in [
            ("default", true),
            ("acme-2.eu_1", true),
            (&longest, true),
            (&too_long, false),
            ("", false),
            ("Acme", false),
            ("a b", false),
            ("a/b", false),
            ("é", false),
            ("a\0", false),
        ] {
            assert_eq!(Tenant::parse(text).is_ok(), valid, "{text:?}");
        }
        assert!(Tenant::parse(Tenant::default().as_str()).is_ok());
    }
}
