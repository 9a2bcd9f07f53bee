//! API keys: `osk_ID_SECRET`, of which only the SHA-256 is stored.
//!
//! A slow hash such as Argon2 protects passwords, which people choose and others can guess. A secret of 256
//! random bits cannot be guessed, so a slow hash adds nothing here, and each request would pay for it: anyone
//! could exhaust the service with wrong keys.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest as _, Sha256};

use super::principal::Principal;
use super::scope::Scopes;
use crate::domain::Tenant;

/// What every key begins with, so that scanners for leaked secrets find it.
pub(super) const PREFIX: &str = "osk_";
/// Hex digits of a secret.
const SECRET_DIGITS: usize = 64;
/// The most characters of an id.
const MAX_ID: usize = 64;

/// The SHA-256 of a credential.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest(pub(super) [u8; 32]);

/// Shows nothing: the hash of a key identifies it.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

impl Digest {
    /// The digest of a credential.
    pub(super) fn of(credential: &[u8]) -> Self {
        Self(Sha256::digest(credential).into())
    }

    /// Reads 64 hex digits.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() || !text.is_ascii() {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).ok()?;
            // `from_str_radix` takes a sign, too.
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(Self(bytes))
    }

    fn to_hex(self) -> String {
        hex(&self.0)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `text` can be the id of a key.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// A key that is accepted.
#[derive(Clone, Debug)]
pub(super) struct ApiKey {
    pub(super) id: Arc<str>,
    pub(super) digest: Digest,
    pub(super) scopes: Scopes,
    pub(super) tenant: Tenant,
    pub(super) expires: Option<SystemTime>,
}

impl ApiKey {
    /// Whether a credential with this digest is this key. Takes the same time wherever they differ.
    pub(super) fn matches(&self, digest: &Digest) -> bool {
        verify_slices_are_equal(&self.digest.0, &digest.0).is_ok()
    }

    /// The caller that the key stands for.
    pub(super) fn principal(&self) -> Principal {
        let id = Arc::clone(&self.id);
        Principal::api_key(id, self.tenant.clone(), self.scopes, self.expires)
    }
}

/// The id in a credential that has the form of a key.
pub(super) fn id_of(credential: &str) -> Option<&str> {
    let (id, secret) = credential.strip_prefix(PREFIX)?.split_once('_')?;
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (is_id(id) && secret.len() == SECRET_DIGITS && secret.bytes().all(hex)).then_some(id)
}

/// A new key.
pub(crate) struct NewApiKey {
    /// The credential, which is not stored anywhere.
    pub(crate) credential: String,
    /// The TOML entry for `AUTH_FILE`.
    pub(crate) entry: String,
}

/// What a new key allows. `id` is the id of a key, and there is at least one scope.
pub(crate) struct ApiKeyRequest<'a> {
    pub(crate) id: &'a str,
    pub(crate) scopes: Scopes,
    pub(crate) tenant: Option<&'a Tenant>,
    pub(crate) expires: Option<DateTime<Utc>>,
}

/// The system has no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the system provides no random numbers")]
pub(crate) struct NoRandomNumbers;

impl NewApiKey {
    /// Makes a key with 256 random bits.
    ///
    /// # Errors
    /// [`NoRandomNumbers`].
    pub(crate) fn generate(request: &ApiKeyRequest<'_>) -> Result<Self, NoRandomNumbers> {
        let mut secret = [0; SECRET_DIGITS / 2];
        rand::fill(&mut secret).map_err(|_| NoRandomNumbers)?;
        let credential = format!("{PREFIX}{}_{}", request.id, hex(&secret));
        let scopes = request.scopes.to_string().replace(',', "\", \"");
        let mut entry = format!(
            "[[api_key]]\nid = \"{}\"\nsha256 = \"{}\"\nscopes = [\"{scopes}\"]\n",
            request.id,
            Digest::of(credential.as_bytes()).to_hex(),
        );
        if let Some(tenant) = request.tenant {
            entry.push_str(&format!("tenant = \"{tenant}\"\n"));
        }
        if let Some(expires) = request.expires {
            let expires = expires.to_rfc3339_opts(SecondsFormat::AutoSi, true);
            entry.push_str(&format!("expires = {expires}\n"));
        }
        Ok(Self { credential, entry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::policy::Policy;
    use crate::access::scope::Scope;

    fn generate() -> NewApiKey {
        NewApiKey::generate(&ApiKeyRequest {
            id: "warehouse-2",
            scopes: [Scope::OrdersRead, Scope::EventsRead].into_iter().collect(),
            tenant: Some(&Tenant::parse("acme").unwrap()),
            expires: Some("2027-01-01T00:00:00Z".parse().unwrap()),
        })
        .unwrap()
    }

    #[test]
    fn the_entry_of_a_new_key_accepts_the_key_and_no_other() {
        let new = generate();
        let policy = Policy::parse(&new.entry).unwrap();
        let id = id_of(&new.credential).unwrap();
        assert_eq!(id, "warehouse-2");
        let key = &policy.api_keys[id][0];
        assert!(key.matches(&Digest::of(new.credential.as_bytes())));
        assert!(!key.matches(&Digest::of(generate().credential.as_bytes())));
        assert!(!new.entry.contains(&new.credential));
        assert!(new.entry.contains("expires = 2027-01-01T00:00:00Z\n"));
    }

    #[test]
    fn the_entry_of_a_new_key_has_the_expiry_that_was_asked_for() {
        for text in [
            "9999-12-31T23:59:59.999999999Z",
            "2099-12-31T23:59:59-23:59",
            "2099-02-28T00:00:00.5+01:00",
            "2099-06-30T23:59:60Z",
        ] {
            let expires: DateTime<Utc> = text.parse().unwrap();
            let new = NewApiKey::generate(&ApiKeyRequest {
                id: "a",
                scopes: Scopes::ALL,
                tenant: None,
                expires: Some(expires),
            });
            let policy = Policy::parse(&new.unwrap().entry).unwrap();
            let read = policy.api_keys["a"][0].expires;
            assert_eq!(read, Some(SystemTime::from(expires)), "{text}");
        }
    }

    #[test]
    fn a_credential_of_another_form_is_no_key() {
        let secret = "a".repeat(64);
        assert_eq!(id_of(&format!("osk_w-1_{secret}")), Some("w-1"));
        for credential in [
            format!("osk__{secret}"),
            format!("osk_w_{secret}a"),
            format!("osk_w_{}", "A".repeat(64)),
            format!("osk_w_{}", "g".repeat(64)),
            format!("osk_W_{secret}"),
            format!("osk_w_x_{secret}"),
            format!("OSK_w_{secret}"),
            format!("osk_{}_{secret}", "w".repeat(65)),
            "osk_".to_owned(),
            String::new(),
        ] {
            assert_eq!(id_of(&credential), None, "{credential}");
        }
    }

    #[test]
    fn digests_are_hex_and_not_shown() {
        let digest = Digest::of(b"test");
        assert_eq!(Digest::from_hex(&digest.to_hex()), Some(digest));
        assert_eq!(
            Digest::from_hex(&digest.to_hex().to_uppercase()),
            Some(digest)
        );
        assert_eq!(Digest::from_hex(&"+f".repeat(32)), None);
        assert_eq!(format!("{digest:?}"), "Digest(…)");
    }
}
