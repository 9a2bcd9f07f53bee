//! The entries `[[api_key]]`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, Utc};

use super::shown::entry_name;
use super::{ApiKeyEntry, PolicyError, Result, bad, scopes, tenant};
use crate::access::api_key::{ApiKey, Digest, is_id};

pub(super) fn api_keys(entries: Vec<ApiKeyEntry>) -> Result<HashMap<String, Vec<ApiKey>>> {
    let mut keys: HashMap<String, Vec<ApiKey>> = HashMap::new();
    let mut digests = HashSet::new();
    for (entry, number) in entries.into_iter().zip(1..) {
        let owner = entry_name("api_key", number, Some(&entry.id).filter(|id| is_id(id)));
        if !is_id(&entry.id) {
            return bad(format!("{owner}: id takes 1 to 64 of a-z, 0-9 and '-'"));
        }
        let Some(digest) = Digest::from_hex(&entry.sha256) else {
            return bad(format!("{owner}: sha256 takes 64 hex digits"));
        };
        if !digests.insert(digest) {
            return bad(format!("{owner}: its sha256 appears twice"));
        }
        let key = ApiKey {
            digest,
            scopes: scopes(&owner, &entry.scopes)?,
            tenant: tenant(&owner, entry.tenant.as_deref())?.unwrap_or_default(),
            expires: entry.expires.map(|at| expiry(&owner, &at)).transpose()?,
            id: Arc::from(entry.id.as_str()),
        };
        let same = keys.entry(entry.id).or_default();
        if same.iter().any(|other| other.tenant != key.tenant) {
            return bad(format!("{owner}: keys of one id have one tenant"));
        }
        if same.len() == 2 {
            return bad(format!("{owner} appears more than twice"));
        }
        same.push(key);
    }
    Ok(keys)
}

fn expiry(owner: &str, at: &toml::value::Datetime) -> Result<SystemTime> {
    DateTime::parse_from_rfc3339(&at.to_string())
        .map(|at| SystemTime::from(at.with_timezone(&Utc)))
        .map_err(|_| {
            PolicyError(format!(
                "{owner}: expires takes a date and time with its offset, such as 2027-01-01T00:00:00Z"
            ))
        })
}
