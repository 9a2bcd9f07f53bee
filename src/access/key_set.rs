//! The public keys of an issuer: a JSON Web Key Set (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use super::api_key::Digest;

/// The fewest bits of an RSA modulus (RFC 7518, section 3.3).
const MIN_RSA_BITS: usize = 2048;
/// The most bits that verification takes.
const MAX_RSA_BITS: usize = 8192;

/// The usable keys of a set.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Of the document, to tell whether another one differs.
    digest: Digest,
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// A key that verifies signatures.
#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    algorithms: &'static [Algorithm],
    /// Of the public key itself.
    material: Digest,
    pub(super) key: DecodingKey,
}

/// Why a document is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("the document is not a JSON Web Key Set")]
    Malformed,
    #[error("no key of the set can verify a token")]
    NoUsableKey,
}

/// The key for a token, as far as its header names one.
#[derive(Debug)]
pub(super) enum Selection<'a> {
    /// This key verifies it.
    Key(&'a Key),
    /// The set has no key with this id, so it may be outdated.
    Unknown,
    /// There is a key with this id, but not for this algorithm; or the token names none and several fit.
    Unsuitable,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

/// One member of the set. What is not understood makes the key unusable, not the set (RFC 7517, section 5).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    /// The digest of what makes up the public key.
    fn material(&self) -> Digest {
        let parts = (&self.kty, &self.crv, &self.n, &self.e, &self.x, &self.y);
        Digest::of(format!("{parts:?}").as_bytes())
    }
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// [`KeySetError`]; a set without a usable key is an error, so that it never replaces a good one.
    pub(super) fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        let document: Document =
            serde_json::from_slice(json).map_err(|_| KeySetError::Malformed)?;
        let keys: Vec<_> = document
            .keys
            .into_iter()
            .filter_map(|value| serde_json::from_value(value).ok())
            .filter_map(|jwk: Jwk| Key::new(jwk))
            .collect();
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey);
        }
        Ok(Self {
            keys,
            digest: Digest::of(json),
        })
    }

    /// The key for a token with this `kid` and `alg`. A token without `kid` is accepted if exactly one key fits. Two
    /// entries with the same public key are one key.
    pub(super) fn select(&self, id: Option<&str>, algorithm: Algorithm) -> Selection<'_> {
        let named = |key: &&Key| match id {
            Some(id) => key.id.as_deref() == Some(id),
            None => true,
        };
        let mut known = false;
        let mut fitting: Option<&Key> = None;
        for key in self.keys.iter().filter(named) {
            known = true;
            if key.algorithms.contains(&algorithm) {
                if fitting.is_some_and(|other| other.material != key.material) {
                    return Selection::Unsuitable;
                }
                fitting = Some(key);
            }
        }
        match fitting {
            Some(key) => Selection::Key(key),
            None if known => Selection::Unsuitable,
            None => Selection::Unknown,
        }
    }
}

impl Key {
    fn new(jwk: Jwk) -> Option<Self> {
        let for_signatures = jwk.r#use.as_deref().is_none_or(|r#use| r#use == "sig");
        let for_verifying = jwk
            .key_ops
            .as_ref()
            .is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !for_signatures || !for_verifying {
            return None;
        }
        let material = jwk.material();
        let (algorithms, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let n = decode(jwk.n.as_deref()?)?;
                let e = decode(jwk.e.as_deref()?)?;
                if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits(&n)) {
                    return None;
                }
                const RSA: &[Algorithm] = &[Algorithm::RS256, Algorithm::PS256];
                (RSA, DecodingKey::from_rsa_raw_components(&n, &e))
            }
            ("EC", Some("P-256")) => (&[Algorithm::ES256][..], ec(&jwk, 32)?),
            ("EC", Some("P-384")) => (&[Algorithm::ES384][..], ec(&jwk, 48)?),
            ("OKP", Some("Ed25519")) => {
                let x = jwk.x.as_deref()?;
                if decode(x)?.len() != 32 {
                    return None;
                }
                let key = DecodingKey::from_ed_components(x).ok()?;
                (&[Algorithm::EdDSA][..], key)
            }
            _ => return None,
        };
        Some(Self {
            id: jwk.kid,
            algorithms: match jwk.alg.as_deref() {
                None => algorithms,
                Some(name) => only(algorithms, algorithm(name)?)?,
            },
            material,
            key,
        })
    }
}

/// The algorithm with this name, if tokens may use it. Symmetric ones and `none` are not in the list: whoever
/// could verify with them could sign as well (RFC 8725, section 3.1).
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "PS256" => Algorithm::PS256,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        // RFC 9864 names the curve; older keys and tokens say EdDSA.
        "EdDSA" | "Ed25519" => Algorithm::EdDSA,
        _ => return None,
    })
}

/// The part of `algorithms` that is `one`.
fn only(algorithms: &'static [Algorithm], one: Algorithm) -> Option<&'static [Algorithm]> {
    let at = algorithms.iter().position(|algorithm| *algorithm == one)?;
    algorithms.get(at..=at)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// The bits of a number in big-endian bytes.
fn bits(number: &[u8]) -> usize {
    let mut bytes = number.iter().skip_while(|byte| **byte == 0);
    match bytes.next() {
        None => 0,
        Some(first) => {
            let top = usize::try_from(8 - first.leading_zeros()).unwrap_or_default();
            top + 8 * bytes.count()
        }
    }
}

/// A point on a curve whose coordinates have `length` bytes (RFC 7518, section 6.2.1.2).
fn ec(jwk: &Jwk, length: usize) -> Option<DecodingKey> {
    let (x, y) = (jwk.x.as_deref()?, jwk.y.as_deref()?);
    if decode(x)?.len() != length || decode(y)?.len() != length {
        return None;
    }
    DecodingKey::from_ec_components(x, y).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"e","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;

    fn rsa(bytes: usize, more: &str) -> String {
        let n = URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
        format!(r#"{{"kty":"RSA","kid":"r","n":"{n}","e":"AQAB"{more}}}"#)
    }

    fn parse(keys: &[&str]) -> Result<KeySet, KeySetError> {
        KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
    }

    #[test]
    fn a_key_permits_only_the_algorithms_of_its_type() {
        let set = parse(&[&rsa(256, ""), EC]).unwrap();
        for (id, algorithm, fits) in [
            ("r", Algorithm::RS256, true),
            ("r", Algorithm::PS256, true),
            ("r", Algorithm::ES256, false),
            ("e", Algorithm::ES256, true),
            ("e", Algorithm::ES384, false),
            ("e", Algorithm::RS256, false),
        ] {
            let selected = set.select(Some(id), algorithm);
            assert_eq!(
                matches!(selected, Selection::Key(_)),
                fits,
                "{id} {algorithm:?}"
            );
            assert!(fits || matches!(selected, Selection::Unsuitable));
        }
        assert!(matches!(
            set.select(Some("x"), Algorithm::RS256),
            Selection::Unknown
        ));
    }

    #[test]
    fn alg_use_and_key_ops_restrict_a_key() {
        let set = parse(&[&rsa(256, r#","alg":"PS256""#)]).unwrap();
        assert!(matches!(
            set.select(Some("r"), Algorithm::RS256),
            Selection::Unsuitable
        ));
        assert!(matches!(
            set.select(Some("r"), Algorithm::PS256),
            Selection::Key(_)
        ));
        for more in [
            r#","alg":"HS256""#,
            r#","alg":"ES256""#,
            r#","use":"enc""#,
            r#","key_ops":["sign"]"#,
        ] {
            assert_eq!(
                parse(&[&rsa(256, more)]).unwrap_err(),
                KeySetError::NoUsableKey,
                "{more}"
            );
        }
        assert!(parse(&[&rsa(256, r#","use":"sig","key_ops":["verify"]"#)]).is_ok());
    }

    #[test]
    fn a_bad_key_is_skipped_and_a_set_without_a_good_one_is_an_error() {
        let short = rsa(255, "");
        for bad in [
            short.as_str(),
            r#"{"kty":"oct","k":"c2VjcmV0"}"#,
            r#"{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}"#,
            r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#,
            r#"{"kty":"OKP","crv":"Ed448","x":"AA"}"#,
            r#"{"kid":"x"}"#,
            "7",
        ] {
            assert_eq!(
                parse(&[bad]).unwrap_err(),
                KeySetError::NoUsableKey,
                "{bad}"
            );
            assert!(parse(&[bad, EC]).is_ok());
        }
        assert_eq!(parse(&[]).unwrap_err(), KeySetError::NoUsableKey);
        for malformed in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
            assert_eq!(
                KeySet::parse(malformed.as_bytes()).unwrap_err(),
                KeySetError::Malformed
            );
        }
    }

    #[test]
    fn without_kid_exactly_one_key_must_fit() {
        let other = rsa(256, "")
            .replace("\"r\"", "\"r2\"")
            .replace("AQAB", "Aw");
        let one = parse(&[&rsa(256, ""), EC]).unwrap();
        assert!(matches!(
            one.select(None, Algorithm::RS256),
            Selection::Key(_)
        ));
        assert!(matches!(
            one.select(None, Algorithm::EdDSA),
            Selection::Unsuitable
        ));
        let two = parse(&[&rsa(256, ""), &other, EC]).unwrap();
        assert!(matches!(
            two.select(None, Algorithm::RS256),
            Selection::Unsuitable
        ));
        assert!(matches!(
            two.select(None, Algorithm::ES256),
            Selection::Key(_)
        ));
    }

    #[test]
    fn two_entries_with_the_same_public_key_are_one_key() {
        let key = rsa(256, "");
        let with_alg = rsa(256, r#","alg":"RS256""#);
        let with_other_id = key.replace("\"r\"", "\"r2\"");
        for twin in [&key, &with_alg, &with_other_id] {
            let set = parse(&[&key, twin, EC]).unwrap();
            for id in [Some("r"), None] {
                let selected = set.select(id, Algorithm::RS256);
                assert!(matches!(selected, Selection::Key(_)), "{twin} {id:?}");
            }
        }
        // Another key with the same id is ambiguous.
        let other = key.replace("AQAB", "Aw");
        let set = parse(&[&key, &other]).unwrap();
        let selected = set.select(Some("r"), Algorithm::RS256);
        assert!(matches!(selected, Selection::Unsuitable));
    }

    #[test]
    fn bits_ignore_leading_zeros() {
        assert_eq!(bits(&[]), 0);
        assert_eq!(bits(&[0, 0]), 0);
        assert_eq!(bits(&[0, 1, 0]), 9);
        assert_eq!(bits(&[0xff; 256]), 2048);
    }
}
