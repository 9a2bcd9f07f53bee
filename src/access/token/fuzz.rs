//! Fuzz targets: tokens and key sets, and in [`texts`] policies, API keys and headers.
//!
//! Each property takes bytes: in tests from arbtest, which runs it for a limited time and prints the seed of a failure,
//! and in `fuzz/` from libFuzzer. The inputs are valid documents with mutations of their structure, because random bytes
//! hardly get past the first check.
#![allow(
    clippy::as_conversions,
    clippy::get_unwrap,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::panic_in_result_fn,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a property reports an exhausted input as an error, and fails by a panic"
)]

use arbitrary::{Result, Unstructured};
use serde_json::{Map, json};

use super::*;
use crate::access::key_set::{KeySet, Selection};
use crate::access::policy::Policy;
use crate::access::testing::{TestIssuer, base64};

pub(in crate::access) mod texts;

const ISSUER: &str = "https://login.example.com/";
const NOW: u32 = 1_800_000_000;
const ALGORITHMS: [&str; 5] = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];

/// An issuer, and the tokens that it has signed: the only ones that may be accepted.
struct Corpus {
    issuer: TestIssuer,
    keys: KeySet,
    policy: IssuerPolicy,
    signed: Vec<String>,
}

fn corpus() -> Corpus {
    let issuer = TestIssuer::new();
    let claims = [
        json!({"iss": ISSUER, "aud": "a", "exp": NOW + 300, "sub": "s", "scope": "orders:read"}),
        json!({"iss": ISSUER, "aud": ["a", "b"], "exp": NOW, "nbf": NOW, "sub": "s", "tenant": "t"}),
    ];
    let mut signed = Vec::new();
    for algorithm in ALGORITHMS {
        for claims in &claims {
            let header = json!({"alg": algorithm, "kid": algorithm, "typ": "at+jwt"});
            signed.push(issuer.sign(algorithm, &header, claims));
        }
    }
    let text = format!("[[issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"a\"]\n");
    Corpus {
        keys: KeySet::parse(issuer.jwks().to_string().as_bytes()).unwrap(),
        policy: Policy::parse(&text).unwrap().issuers.remove(0),
        issuer,
        signed,
    }
}

/// The principal of a token, verified with these keys.
fn verify(text: &str, keys: &KeySet, policy: &IssuerPolicy) -> Option<Principal> {
    let token = Token::parse(text).ok()?;
    match keys.select(token.key_id.as_deref(), token.algorithm) {
        Selection::Key(key) => {
            let now = UNIX_EPOCH + Duration::from_secs(NOW.into());
            token.verify(key, policy, now).ok()
        }
        _ => None,
    }
}

/// A member of a header, of claims or of a key.
fn name(u: &mut Unstructured<'_>) -> Result<&'static str> {
    u.choose(&[
        "alg", "kid", "typ", "crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "cty", "iss", "aud",
        "exp", "nbf", "iat", "sub", "scope", "tenant", "kty", "crv", "use", "key_ops", "n", "e",
        "x", "y", "k", "",
    ])
    .copied()
}

fn value(u: &mut Unstructured<'_>) -> Result<Value> {
    Ok(match u.int_in_range(0..=11)? {
        0 => Value::Null,
        1 => json!(u.arbitrary::<bool>()?),
        2 => json!(u.arbitrary::<i64>()?),
        3 => json!(u.arbitrary::<f64>()?),
        4 => json!(u.choose(&[1e300, -0.0, 0.5, 253_402_300_800.0, f64::from(NOW)])?),
        5 => json!(NOW.saturating_add_signed(u.int_in_range(-100..=100)?)),
        6 => json!(u.choose(&ALGORITHMS)?),
        7 => json!(u.choose(&[
            "none", "HS256", ISSUER, "a", "at+jwt", "none", "EC", "oct", "P-384", "enc"
        ])?),
        8 => json!([value(u)?]),
        9 => json!({name(u)?: value(u)?}),
        10 => json!("x".repeat(u.int_in_range(0..=600)?)),
        _ => json!(u.arbitrary::<&str>()?),
    })
}

/// Sets or removes members.
fn change(u: &mut Unstructured<'_>, object: &mut Map<String, Value>) -> Result<()> {
    for _ in 0..u.int_in_range(0..=3)? {
        let name = name(u)?;
        if u.arbitrary()? {
            object.insert(name.to_owned(), value(u)?);
        } else {
            object.remove(name);
        }
    }
    Ok(())
}

/// Changes the text: bytes, a repeated member, deep nesting.
fn distort(u: &mut Unstructured<'_>, text: &mut String) -> Result<()> {
    match u.int_in_range(0..=9)? {
        0 => {
            let mut bytes = std::mem::take(text).into_bytes();
            if let Some(at) = bytes.len().checked_sub(1) {
                let at = u.int_in_range(0..=at)?;
                bytes[at] = u.arbitrary()?;
            }
            *text = String::from_utf8_lossy(&bytes).into_owned();
        }
        1 => {
            let member = format!("{{{:?}:{},", name(u)?, value(u)?);
            *text = text.replacen('{', &member, 1);
        }
        2 => {
            let depth = u.int_in_range(1..=3000)?;
            *text = text.replacen(':', &format!(":{}", "[".repeat(depth)), 1);
        }
        3 => {
            let length = u.int_in_range(0..=text.len())?.min(20);
            text.truncate(text.floor_char_boundary(length));
        }
        _ => {}
    }
    Ok(())
}

fn object_of(segment: &str) -> Map<String, Value> {
    let json = URL_SAFE_NO_PAD.decode(segment).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn segments(token: &str) -> [&str; 3] {
    let parts: Vec<_> = token.split('.').collect();
    parts.try_into().unwrap()
}

/// Parts of tokens, changed and put together anew.
fn forged(u: &mut Unstructured<'_>, corpus: &Corpus) -> Result<String> {
    let mut parts = Vec::new();
    for at in 0..3 {
        let segment = segments(u.choose(&corpus.signed)?)[at];
        parts.push(match (at, u.arbitrary()?) {
            (_, false) => segment.to_owned(),
            (2, true) => {
                let mut signature = URL_SAFE_NO_PAD.decode(segment).unwrap();
                match u.int_in_range(0..=3)? {
                    0 => signature.clear(),
                    1 => signature.fill(u.arbitrary()?),
                    2 => signature.truncate(u.int_in_range(0..=signature.len())?),
                    _ => signature.extend(u.arbitrary::<[u8; 4]>()?),
                }
                base64(signature)
            }
            (_, true) => {
                let mut object = object_of(segment);
                change(u, &mut object)?;
                let mut text = Value::from(object).to_string();
                distort(u, &mut text)?;
                base64(text)
            }
        });
    }
    let mut token = parts.join(".");
    match u.int_in_range(0..=12)? {
        0 => token.push('='),
        1 => token = token.replace('-', "+").replace('_', "/"),
        2 => token.push_str(".x.y"),
        3 => token.push('.'),
        4 => token.insert(
            u.int_in_range(0..=token.len())?,
            u.choose(&['A', '.', '\n', '~']).copied()?,
        ),
        5 => {
            // The last character has bits that are not part of the signature.
            let last = token.pop();
            token.push(if last == Some('A') { 'B' } else { 'A' });
        }
        6 => token.extend(std::iter::repeat_n('A', 9000)),
        _ => {}
    }
    Ok(token)
}

fn only_signed_tokens_are_accepted(u: &mut Unstructured<'_>, corpus: &Corpus) -> Result<()> {
    let token = forged(u, corpus)?;
    if verify(&token, &corpus.keys, &corpus.policy).is_some() {
        assert!(corpus.signed.contains(&token), "forged: {token}");
    }
    Ok(())
}

/// What RFC 7519 and the policy require of accepted claims, read by other code.
fn assert_claims(header: &Value, claims: &Value, principal: &Principal) {
    assert_eq!(claims["iss"], ISSUER);
    assert!(claims["aud"] == "a" || claims["aud"].as_array().unwrap().contains(&json!("a")));
    assert!(claims["exp"].as_f64().unwrap() > f64::from(NOW) - 60.0);
    assert!(
        claims
            .get("nbf")
            .is_none_or(|nbf| nbf.as_f64().unwrap() <= f64::from(NOW) + 60.0)
    );
    assert_eq!(header.get("crit"), None);
    let kind = header["typ"].as_str().unwrap().to_ascii_lowercase();
    assert!(matches!(kind.as_str(), "at+jwt" | "application/at+jwt"));
    let subject = claims["sub"].as_str().unwrap();
    assert!(!subject.is_empty() && !subject.contains(char::is_control));
    assert_eq!(&*principal.caller.id, format!("{ISSUER}|{subject}"));
    assert_eq!(principal.caller.tenant, Tenant::default());
    if principal.scopes != Scopes::NONE {
        assert!(claims["scope"].to_string().contains("orders:read"));
    }
}

fn accepted_claims_are_those_of_the_policy(
    u: &mut Unstructured<'_>,
    corpus: &Corpus,
) -> Result<()> {
    let [header, claims, _] = segments(u.choose(&corpus.signed)?);
    let [mut header, mut claims] = [object_of(header), object_of(claims)];
    // Fast to sign, and the claims are checked after the signature.
    header.insert("alg".to_owned(), json!("EdDSA"));
    header.insert("kid".to_owned(), json!("EdDSA"));
    change(u, &mut header)?;
    change(u, &mut claims)?;
    let mut texts = [header, claims].map(|object| Value::from(object).to_string());
    for text in &mut texts {
        distort(u, text)?;
    }
    let [header, claims] = &texts;
    let token = corpus.issuer.sign_text("EdDSA", header, claims);
    if let Some(principal) = verify(&token, &corpus.keys, &corpus.policy) {
        let read = |text: &str| serde_json::from_str(text).unwrap();
        assert!(token.len() <= MAX_BYTES);
        assert_claims(&read(header), &read(claims), &principal);
    }
    Ok(())
}

fn a_key_set_accepts_no_forged_token(u: &mut Unstructured<'_>, corpus: &Corpus) -> Result<()> {
    let mut keys = corpus.issuer.jwks()["keys"].as_array().unwrap().clone();
    for key in &mut keys {
        change(u, key.as_object_mut().unwrap())?;
    }
    let mut text = json!({"keys": keys}).to_string();
    distort(u, &mut text)?;
    if let Ok(keys) = KeySet::parse(text.as_bytes()) {
        let token = forged(u, corpus)?;
        if verify(&token, &keys, &corpus.policy).is_some() {
            assert!(
                corpus.signed.contains(&token),
                "forged: {token} with {text}"
            );
        }
    }
    Ok(())
}

/// The targets of this file for a fuzzer, with the issuer that they have in common.
pub(crate) struct Tokens(Corpus);

impl Tokens {
    pub(crate) fn new() -> Self {
        Self(corpus())
    }

    /// The first byte selects the property.
    pub(crate) fn token(&self, data: &[u8]) {
        let Some((property, rest)) = data.split_first() else {
            return;
        };
        let Self(corpus) = self;
        let u = &mut Unstructured::new(rest);
        // An exhausted input is no failure.
        let _ = match property % 4 {
            0 => only_signed_tokens_are_accepted(u, corpus),
            1 => accepted_claims_are_those_of_the_policy(u, corpus),
            2 => a_key_set_accepts_no_forged_token(u, corpus),
            _ => {
                if let Ok(text) = std::str::from_utf8(rest) {
                    assert_eq!(verify(text, &corpus.keys, &corpus.policy), None);
                }
                Ok(())
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use arbtest::arbtest;

    use super::*;

    /// How long each target runs.
    const BUDGET_MS: u64 = 1500;

    /// Runs a target for a limited time.
    pub(super) fn run(target: impl FnMut(&mut Unstructured<'_>) -> Result<()>) {
        arbtest(target).budget_ms(BUDGET_MS).size_max(4096).run();
    }

    #[test]
    fn fuzz_forged_tokens() {
        let corpus = corpus();
        for token in &corpus.signed {
            assert!(verify(token, &corpus.keys, &corpus.policy).is_some());
        }
        run(|u| only_signed_tokens_are_accepted(u, &corpus));
    }

    #[test]
    fn fuzz_signed_tokens() {
        let corpus = corpus();
        run(|u| accepted_claims_are_those_of_the_policy(u, &corpus));
    }

    #[test]
    fn fuzz_key_sets() {
        let corpus = corpus();
        run(|u| a_key_set_accepts_no_forged_token(u, &corpus));
    }
}
