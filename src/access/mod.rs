//! Who may call: credentials, principals, scopes.
//!
//! A credential is verified once per worker, and then found in a cache by its digest ([`Authenticator`]).
//! `AUTH_FILE` declares which credentials are accepted ([`policy`]). The keys of issuers are fetched in the
//! background ([`issuer`]).

mod api_key;
mod audit;
mod authenticator;
mod cache;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the budgets of the store will use it"
)]
mod fetch;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod issuer;
mod key_set;
mod policy;
mod principal;
mod rejected;
mod reload;
mod scope;
mod standing;
mod state;
#[cfg(any(test, fuzzing))]
mod testing;
mod token;

use std::fmt;

pub(crate) use api_key::{ApiKeyRequest, NewApiKey, NoRandomNumbers, is_id as is_api_key_id};
pub(crate) use authenticator::{Authentication, Authenticator};
pub(crate) use principal::Principal;
pub(crate) use rejected::Rejected;
pub(crate) use reload::FileError;
pub(crate) use scope::Requirement;
pub(crate) use scope::{Scope, Scopes};
pub(crate) use standing::Standing;
pub(crate) use state::Access;

/// What requests without credentials may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anonymous {
    /// Everything, and credentials are ignored. The service listens on a loopback address, and neither `AUTH_FILE`
    /// nor `AUTH_ANONYMOUS` is set.
    Open,
    /// What these scopes allow. A credential that is present is verified all the same.
    Scopes(Scopes),
}

impl fmt::Display for Anonymous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("all, from this host only"),
            Self::Scopes(Scopes::NONE) => f.write_str("none"),
            Self::Scopes(scopes) => scopes.fmt(f),
        }
    }
}
