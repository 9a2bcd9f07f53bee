//! JSON Web Tokens (RFC 7519, RFC 9068, RFC 8725): what a token says, and whether it may be believed.
//!
//! RFC 9068 also requires the claims `client_id` and `jti`. Common providers leave them out, and nothing
//! here depends on them, so they are not required.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use self::json::Unambiguous;
use super::key_set::{Key, algorithm};
use super::policy::{Grant, IssuerPolicy, media_type};
use super::principal::{LEEWAY, Principal};
use super::scope::Scopes;
use crate::domain::Tenant;

mod json;

/// The most bytes of a token.
const MAX_BYTES: usize = 8 * 1024;
/// The most bytes of a subject: it goes into every event and log line.
const MAX_SUBJECT: usize = 512;
/// The latest time that is accepted, the end of the year 9999. Far above it, sums would overflow.
const MAX_SECONDS: f64 = 253_402_300_799.0;

/// Why a token is refused. The reason goes into the log; the client learns only that it is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenError {
    Malformed,
    Algorithm,
    Critical,
    Type,
    Issuer,
    Key,
    Signature,
    Audience,
    Expired,
    NotYetValid,
    Claim,
    Tenant,
}

impl TokenError {
    /// The reason for the log.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "the token is malformed",
            Self::Algorithm => "the token's algorithm is not accepted",
            Self::Critical => "the token has a critical header that is not understood",
            Self::Type => "the token's type is not accepted",
            Self::Issuer => "the token's issuer is unknown",
            Self::Key => "no key of the issuer fits the token",
            Self::Signature => "the token's signature is wrong",
            Self::Audience => "the token's audience is another one",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::Claim => "a claim of the token is missing or has a bad value",
            Self::Tenant => "the token names no tenant, or a bad one",
        }
    }
}

/// A token that is taken apart and not verified yet.
pub(super) struct Token<'a> {
    /// The part that is signed.
    message: &'a str,
    signature: &'a str,
    pub(super) algorithm: Algorithm,
    /// The id of the key (`kid`).
    pub(super) key_id: Option<String>,
    token_type: Option<String>,
    claims: Value,
}

/// Shows nothing: a part of a token may be enough to use it.
impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The header (RFC 7515, section 4.1). `jwk`, `jku`, `x5c` and `x5u` are ignored: a token must not say which key
/// verifies it.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "present")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<Value>,
}

/// A member that is there. For serde, null is the same as a member that is missing.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`TokenError`] when it is not a signed token, or one with an algorithm that is not accepted.
    pub(super) fn parse(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > MAX_BYTES {
            return Err(TokenError::Malformed);
        }
        let (message, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
        // An encrypted token has five parts.
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        let header: Header =
            serde_json::from_value(part(header)?).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        Ok(Self {
            message,
            signature,
            algorithm: algorithm(&header.alg).ok_or(TokenError::Algorithm)?,
            key_id: header.kid,
            token_type: header.typ.as_deref().map(media_type),
            claims: part(payload)?,
        })
    }

    /// The claim `iss`. Not verified: it only says which issuer's keys to try.
    pub(super) fn issuer(&self) -> Result<&str, TokenError> {
        self.text("/iss").ok_or(TokenError::Issuer)
    }

    /// The principal of the token, when `key` has signed it and its claims are those that `policy` asks for.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(super) fn verify(
        &self,
        key: &Key,
        policy: &IssuerPolicy,
        now: SystemTime,
    ) -> Result<Principal, TokenError> {
        let message = self.message.as_bytes();
        let verified =
            jsonwebtoken::crypto::verify(self.signature, message, &key.key, self.algorithm);
        if !matches!(verified, Ok(true)) {
            return Err(TokenError::Signature);
        }
        let (subject, expires) = self.check(policy, now)?;
        let (scopes, tenant) = self.rights(policy, subject)?;
        let issuer = &policy.issuer;
        Ok(Principal::token(issuer, subject, tenant, scopes, expires))
    }

    /// Checks what needs no key, and returns the subject and the expiry. A token that fails does not need to wait for
    /// keys. One that passes may still be forged.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(super) fn check(
        &self,
        policy: &IssuerPolicy,
        now: SystemTime,
    ) -> Result<(&str, SystemTime), TokenError> {
        if !policy.token_types.contains(&self.token_type) {
            return Err(TokenError::Type);
        }
        if self.issuer()? != policy.issuer {
            return Err(TokenError::Issuer);
        }
        let audience = match self.claims.get("aud") {
            Some(Value::String(one)) => policy.audiences.contains(one),
            Some(Value::Array(several)) => several
                .iter()
                .filter_map(Value::as_str)
                .any(|one| policy.audiences.iter().any(|accepted| accepted == one)),
            _ => false,
        };
        if !audience {
            return Err(TokenError::Audience);
        }
        let expires = self.time("exp")?.ok_or(TokenError::Claim)? + LEEWAY;
        if expires <= now {
            return Err(TokenError::Expired);
        }
        if self.time("nbf")?.is_some_and(|from| from > now + LEEWAY) {
            return Err(TokenError::NotYetValid);
        }
        let subject = self.text(&policy.principal_claim);
        let subject = subject.filter(|subject| is_subject(subject));
        let subject = subject.ok_or(TokenError::Claim)?;
        Ok((subject, expires))
    }

    /// What the subject may do, and for whom.
    fn rights(&self, policy: &IssuerPolicy, subject: &str) -> Result<(Scopes, Tenant), TokenError> {
        let grant = policy.grants.get(subject);
        let (scopes, grant) = match self.claims.pointer(&policy.scopes_claim) {
            Some(Value::String(names)) => (Scopes::known(names.split(' ')), None),
            Some(Value::Array(names)) => {
                let names: Option<Vec<_>> = names.iter().map(Value::as_str).collect();
                (Scopes::known(names.ok_or(TokenError::Claim)?), None)
            }
            Some(_) => return Err(TokenError::Claim),
            None => (grant.map_or(Scopes::NONE, |grant| grant.scopes), grant),
        };
        let tenant = match &policy.tenant_claim {
            Some(claim) => {
                let name = self.text(claim).ok_or(TokenError::Tenant)?;
                Tenant::parse(name).map_err(|_| TokenError::Tenant)?
            }
            None => grant
                .and_then(|grant: &Grant| grant.tenant.clone())
                .unwrap_or_default(),
        };
        Ok((scopes, tenant))
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.claims.pointer(pointer)?.as_str()
    }

    /// A `NumericDate` (RFC 7519, section 2): seconds, perhaps with a fraction.
    fn time(&self, claim: &str) -> Result<Option<SystemTime>, TokenError> {
        let Some(value) = self.claims.get(claim) else {
            return Ok(None);
        };
        let seconds = value.as_f64().ok_or(TokenError::Claim)?;
        if !(0.0..=MAX_SECONDS).contains(&seconds) {
            return Err(TokenError::Claim);
        }
        Ok(Some(UNIX_EPOCH + Duration::from_secs_f64(seconds)))
    }
}

/// Whether events and log lines may show the subject.
fn is_subject(text: &str) -> bool {
    // CloudEvents permits no control characters in attributes, and PostgreSQL no NUL in texts.
    (1..=MAX_SUBJECT).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// One part of a token: JSON in base64url without padding.
fn part(text: &str) -> Result<Value, TokenError> {
    let json = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| TokenError::Malformed)?;
    let Unambiguous(value) = serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)?;
    Ok(value)
}

#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
#[cfg(test)]
mod tests;
