//! The options of the command `api-key`.

use chrono::{DateTime, Utc};
use clap::Args;

use super::access::scope_list;
use crate::access::{Scopes, is_api_key_id};
use crate::domain::Tenant;

/// The new API key.
#[derive(Clone, Debug, Args)]
pub struct ApiKeyArgs {
    /// The id of the key, which logs and events show: 1 to 64 of a-z, 0-9 and '-'
    #[arg(long, value_parser = id)]
    pub(crate) id: String,
    /// What the key allows: scopes separated by commas, such as orders:read,events:read
    #[arg(long, value_parser = scope_list)]
    pub(crate) scopes: Scopes,
    /// The tenant whose data the key reads and writes [default: default]
    #[arg(long, value_parser = Tenant::parse)]
    pub(crate) tenant: Option<Tenant>,
    /// When the key expires, such as 2027-01-01T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) expires: Option<DateTime<Utc>>,
}

/// An option is invalid. The message describes the values that it takes.
#[derive(Debug, thiserror::Error)]
enum OptionError {
    #[error("takes 1 to 64 of a-z, 0-9 and '-'")]
    Id,
    #[error("takes a date and a time with its zone (RFC 3339), such as 2027-01-01T00:00:00Z")]
    Time,
}

fn id(text: &str) -> Result<String, OptionError> {
    is_api_key_id(text)
        .then(|| text.to_owned())
        .ok_or(OptionError::Id)
}

fn time(text: &str) -> Result<DateTime<Utc>, OptionError> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.with_timezone(&Utc))
        .map_err(|_| OptionError::Time)
}
