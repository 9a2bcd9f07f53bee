//! `AUTH_FILE`: the issuers, API keys and grants of a deployment.

mod api_keys;
mod shown;
mod url;

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::api_key::{ApiKey, PREFIX};
use super::scope::{Scope, Scopes};
use crate::domain::Tenant;
use api_keys::api_keys;
use shown::{entry_name, issuer_name, scope_name, without_values};
pub(super) use url::check_url;
use url::has_user;

/// The content of `AUTH_FILE`, checked.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) issuers: Vec<IssuerPolicy>,
    /// By id. Two keys of one id allow rotation.
    pub(super) api_keys: HashMap<String, Vec<ApiKey>>,
}

/// Why a file is not a policy. The message names the place and never quotes the file: somebody may have put a
/// secret there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct PolicyError(String);

/// An issuer whose tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IssuerPolicy {
    /// The value of the claim `iss`.
    pub(super) issuer: String,
    /// One of these is in the claim `aud`.
    pub(super) audiences: Vec<String>,
    /// Where its keys are.
    pub(super) keys: KeyLocation,
    /// Root certificates for its servers; those of the system if there is none.
    pub(super) ca_file: Option<PathBuf>,
    /// A bearer token for the requests to its servers.
    pub(super) token_file: Option<PathBuf>,
    /// The accepted values of `typ`, in lower case and without `application/`; `None` is a token without one.
    pub(super) token_types: Vec<Option<String>>,
    /// Where in the claims the principal is (JSON Pointer, RFC 6901).
    pub(super) principal_claim: String,
    /// Where the scopes are.
    pub(super) scopes_claim: String,
    /// Where the tenant is. Without it, the tenant is that of the grant, or the default.
    pub(super) tenant_claim: Option<String>,
    /// What its subjects may do whose tokens have no scopes.
    pub(super) grants: HashMap<String, Grant>,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyLocation {
    /// At the `jwks_uri` of its discovery document (OpenID Connect Discovery 1.0, section 4).
    Discovery,
    /// At this URL.
    Url(String),
    /// In this file.
    File(PathBuf),
}

/// What a subject may do whose tokens have no scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) scopes: Scopes,
    pub(super) tenant: Option<Tenant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    issuer: Vec<IssuerEntry>,
    #[serde(default)]
    api_key: Vec<ApiKeyEntry>,
    #[serde(default)]
    grant: Vec<GrantEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerEntry {
    issuer: String,
    audiences: Vec<String>,
    jwks_url: Option<String>,
    jwks_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    token_types: Option<Vec<String>>,
    principal_claim: Option<String>,
    scopes_claim: Option<String>,
    tenant_claim: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiKeyEntry {
    id: String,
    sha256: String,
    scopes: Vec<String>,
    tenant: Option<String>,
    expires: Option<toml::value::Datetime>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantEntry {
    issuer: String,
    subject: String,
    scopes: Vec<String>,
    tenant: Option<String>,
}

type Result<T> = std::result::Result<T, PolicyError>;

fn bad<T>(message: impl Into<String>) -> Result<T> {
    Err(PolicyError(message.into()))
}

impl Policy {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`PolicyError`] when it is not TOML, is empty, or has an unknown field or a bad value.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text
                .bytes()
                .take(start)
                .filter(|byte| *byte == b'\n')
                .count()
                + 1;
            PolicyError(format!("line {line}: {}", without_values(error.message())))
        })?;
        if file.issuer.is_empty() && file.api_key.is_empty() {
            return bad("there is neither an [[issuer]] nor an [[api_key]]");
        }
        let mut issuers = Vec::with_capacity(file.issuer.len());
        for (entry, number) in file.issuer.into_iter().zip(1..) {
            let name = issuer_name(number, &entry.issuer);
            let issuer = IssuerPolicy::new(entry, &name)?;
            if issuers
                .iter()
                .any(|other: &IssuerPolicy| other.issuer == issuer.issuer)
            {
                return bad(format!("{name} appears twice"));
            }
            issuers.push(issuer);
        }
        for (entry, number) in file.grant.into_iter().zip(1..) {
            grant(&mut issuers, entry, number)?;
        }
        Ok(Self {
            issuers,
            api_keys: api_keys(file.api_key)?,
        })
    }
}

impl IssuerPolicy {
    fn new(entry: IssuerEntry, name: &str) -> Result<Self> {
        if entry.issuer.is_empty() {
            return bad(format!("{name}: issuer is empty"));
        }
        if has_user(&entry.issuer) {
            return bad(format!(
                "{name}: issuer has a user or a password; use jwks_url and token_file"
            ));
        }
        // Logs and metrics show the issuer of a good file.
        if entry.issuer.starts_with(PREFIX) {
            return bad(format!("{name}: issuer is an API key"));
        }
        // A principal is ISSUER|SUBJECT. With that character in an issuer, two principals could have one name.
        if entry.issuer.contains('|') || entry.issuer.contains(char::is_control) {
            return bad(format!(
                "{name}: issuer takes neither '|' nor control characters"
            ));
        }
        if entry.audiences.is_empty() || entry.audiences.iter().any(String::is_empty) {
            return bad(format!(
                "{name}: audiences takes at least one audience, none empty"
            ));
        }
        let keys = match (entry.jwks_url, entry.jwks_file) {
            (Some(_), Some(_)) => {
                return bad(format!("{name}: jwks_url and jwks_file exclude each other"));
            }
            (Some(url), None) => {
                check_url(&url).or_else(|why| bad(format!("{name}: jwks_url {why}")))?;
                KeyLocation::Url(url)
            }
            (None, Some(file)) => KeyLocation::File(file),
            (None, None) => {
                check_url(&entry.issuer)
                    .or_else(|why| bad(format!("{name}: for discovery, issuer {why}")))?;
                KeyLocation::Discovery
            }
        };
        if matches!(keys, KeyLocation::File(_))
            && (entry.ca_file.is_some() || entry.token_file.is_some())
        {
            return bad(format!(
                "{name}: ca_file and token_file need keys that are fetched"
            ));
        }
        // A discovery document may name any server, which would get the token.
        if keys == KeyLocation::Discovery && entry.token_file.is_some() {
            return bad(format!("{name}: token_file needs jwks_url"));
        }
        let types = entry
            .token_types
            .unwrap_or_else(|| vec!["at+jwt".to_owned()]);
        if types.is_empty() {
            return bad(format!("{name}: token_types takes at least one type"));
        }
        let pointer = |field: &str, given: Option<String>, default: &str| {
            let pointer = given.unwrap_or_else(|| default.to_owned());
            if pointer.starts_with('/') {
                Ok(pointer)
            } else {
                bad(format!(
                    "{name}: {field} takes a JSON Pointer such as \"{default}\""
                ))
            }
        };
        Ok(Self {
            audiences: entry.audiences,
            keys,
            ca_file: entry.ca_file,
            token_file: entry.token_file,
            token_types: types.iter().map(|r#type| token_type(r#type)).collect(),
            principal_claim: pointer("principal_claim", entry.principal_claim, "/sub")?,
            scopes_claim: pointer("scopes_claim", entry.scopes_claim, "/scope")?,
            tenant_claim: match entry.tenant_claim {
                Some(given) => Some(pointer("tenant_claim", Some(given), "/tenant")?),
                None => None,
            },
            grants: HashMap::new(),
            issuer: entry.issuer,
        })
    }
}

/// A `typ` as it is compared: media types ignore case, and `application/` may be left out (RFC 7515, section
/// 4.1.9).
pub(super) fn media_type(given: &str) -> String {
    let lower = given.to_ascii_lowercase();
    match lower.strip_prefix("application/") {
        Some(short) => short.to_owned(),
        None => lower,
    }
}

impl IssuerPolicy {
    /// Whether both have the same issuer, with keys from the same place that are trusted for the same reason.
    pub(super) fn has_keys_of(&self, other: &Self) -> bool {
        let source = |policy: &Self| {
            (
                policy.issuer.clone(),
                policy.keys.clone(),
                policy.ca_file.clone(),
            )
        };
        source(self) == source(other)
    }
}

/// An entry of `token_types`. `none` stands for a token without `typ`.
fn token_type(given: &str) -> Option<String> {
    (given != "none").then(|| media_type(given))
}

fn scopes(owner: &str, names: &[String]) -> Result<Scopes> {
    let mut scopes = Vec::with_capacity(names.len());
    for name in names {
        match Scope::parse(name) {
            Some(scope) => scopes.push(scope),
            None => {
                let name = scope_name(name);
                let all = Scopes::ALL;
                return bad(format!("{owner}: {name} is no scope; there are {all}"));
            }
        }
    }
    if scopes.is_empty() {
        return bad(format!("{owner}: scopes takes at least one scope"));
    }
    Ok(scopes.into_iter().collect())
}

fn tenant(owner: &str, name: Option<&str>) -> Result<Option<Tenant>> {
    name.map(|name| {
        Tenant::parse(name).map_err(|error| PolicyError(format!("{owner}: tenant: {error}")))
    })
    .transpose()
}

fn grant(issuers: &mut [IssuerPolicy], entry: GrantEntry, number: usize) -> Result<()> {
    let owner = entry_name("grant", number, None);
    let Some(issuer) = issuers
        .iter_mut()
        .find(|issuer| issuer.issuer == entry.issuer)
    else {
        return bad(format!("{owner}: there is no [[issuer]] with its issuer"));
    };
    if entry.tenant.is_some() && issuer.tenant_claim.is_some() {
        return bad(format!(
            "{owner}: its issuer has a tenant_claim, so the grant takes no tenant"
        ));
    }
    let grant = Grant {
        scopes: scopes(&owner, &entry.scopes)?,
        tenant: tenant(&owner, entry.tenant.as_deref())?,
    };
    if issuer.grants.insert(entry.subject, grant).is_some() {
        return bad(format!("{owner} repeats the subject of another one"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
