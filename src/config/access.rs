//! The settings of access.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::access::{Anonymous, Scope, Scopes};

/// The settings that declare who may call.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub(crate) struct AccessArgs {
    /// The issuers, API keys and grants that are accepted, as TOML; read again when it changes
    #[arg(long, env)]
    auth_file: Option<PathBuf>,
    /// Scopes of requests without credentials, separated by commas; `all` or `none` [default: all on a loopback BIND_ADDRESS without AUTH_FILE, else none]
    #[arg(long, env, value_parser = scopes)]
    auth_anonymous: Option<Scopes>,
}

/// The service would listen on an address that others can reach, and nothing declares who may call.
#[derive(Debug, thiserror::Error)]
#[error(
    "BIND_ADDRESS ({0}) is not a loopback address: set AUTH_FILE to a file that declares who may call, or \
     AUTH_ANONYMOUS to the scopes of requests without credentials (all, none or a list)"
)]
pub(crate) struct OpenByMistake(SocketAddr);

impl AccessArgs {
    /// Checks that something declares who may call, unless only this host can call.
    pub(super) fn check(&self, bind: SocketAddr) -> Result<(), OpenByMistake> {
        let declared = self.auth_file.is_some() || self.auth_anonymous.is_some();
        if declared || bind.ip().is_loopback() {
            Ok(())
        } else {
            Err(OpenByMistake(bind))
        }
    }

    pub(super) fn file(&self) -> Option<PathBuf> {
        self.auth_file.clone()
    }

    pub(super) fn file_display(&self) -> String {
        let path = self.auth_file.as_ref();
        path.map(|path| path.display().to_string())
            .unwrap_or_default()
    }

    pub(super) fn anonymous(&self, bind: SocketAddr) -> Anonymous {
        match self.auth_anonymous {
            Some(scopes) => Anonymous::Scopes(scopes),
            None if self.auth_file.is_none() && bind.ip().is_loopback() => Anonymous::Open,
            None => Anonymous::Scopes(Scopes::NONE),
        }
    }
}

/// A text is not a list of scopes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "takes scopes separated by commas, of {}; `all` or `none`",
    Scopes::ALL
)]
pub(super) struct ScopesError;

fn scopes(text: &str) -> Result<Scopes, ScopesError> {
    match text.trim() {
        "all" => Ok(Scopes::ALL),
        "none" => Ok(Scopes::NONE),
        list => scope_list(list),
    }
}

/// Reads scopes separated by commas.
pub(super) fn scope_list(text: &str) -> Result<Scopes, ScopesError> {
    text.split(',')
        .map(|name| Scope::parse(name.trim()).ok_or(ScopesError))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_scopes_are_a_list_or_all_or_none() {
        assert_eq!(scopes("all"), Ok(Scopes::ALL));
        assert_eq!(scopes("none"), Ok(Scopes::NONE));
        let read: Scopes = [Scope::OrdersRead, Scope::EventsRead].into_iter().collect();
        assert_eq!(scopes("orders:read, events:read"), Ok(read));
        for bad in [
            "",
            "ALL",
            "orders",
            "orders:read,",
            "all,admin",
            "none,none",
        ] {
            assert_eq!(scopes(bad), Err(ScopesError), "{bad}");
        }
    }
}
