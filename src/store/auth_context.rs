//! Who made a change, as events say it (CloudEvents auth context extension).

use std::borrow::Cow;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::domain::Caller;

/// The maximum length in bytes of the subject of a token in an event.
const MAX_SUBJECT: usize = 255;

/// The value of `authid`: the id of the caller, or `None` without credentials.
///
/// An event is stored for long and read by many, so it never contains an e-mail address. Some issuers use one as
/// the subject of their tokens. A subject with an `@` is therefore replaced by its SHA-256: the changes of one
/// principal can still be recognised, and whoever has the address can find them. The same applies to a subject that
/// is very long or has control characters, which a column of PostgreSQL cannot store.
pub(super) fn auth_id(caller: &Caller) -> Option<Cow<'_, str>> {
    if caller.id.is_empty() {
        return None;
    }
    // The issuer is part of the configuration, and no address.
    let (issuer, subject) = caller.id.split_once('|').unwrap_or(("", &caller.id));
    let verbatim = subject.len() <= MAX_SUBJECT
        && !subject
            .bytes()
            .any(|byte| byte == b'@' || byte.is_ascii_control());
    if verbatim {
        return Some(Cow::Borrowed(&caller.id));
    }
    let mut id = format!("{issuer}|sha256:");
    for byte in Sha256::digest(subject) {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    Some(Cow::Owned(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AuthType, Tenant};

    fn auth_id_of(id: &str) -> Option<String> {
        let caller = Caller {
            tenant: Tenant::default(),
            id: id.into(),
            auth_type: AuthType::Unknown,
        };
        auth_id(&caller).map(Cow::into_owned)
    }

    #[test]
    fn ids_are_copied_and_addresses_are_hashed() {
        assert_eq!(auth_id_of(""), None);
        for id in [
            "warehouse",
            "https://login.example.com/|00u1a2b3",
            "https://kubernetes.default.svc|system:serviceaccount:shop:checkout",
        ] {
            assert_eq!(auth_id_of(id).as_deref(), Some(id));
        }
        // printf ann@example.com | sha256sum
        let hash = "71d4f55f72fa128dfb468a1a3901507c804b74316488744d769d7f4b16696476";
        assert_eq!(
            auth_id_of("https://login.example.com/|ann@example.com"),
            Some(format!("https://login.example.com/|sha256:{hash}"))
        );
        for other in ["a\0b".to_owned(), "x".repeat(256)] {
            let id = auth_id_of(&format!("issuer|{other}")).unwrap();
            assert_eq!(id.len(), "issuer|sha256:".len() + 64);
        }
    }
}
