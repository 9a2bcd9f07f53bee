//! The options of the command `api-key`.

use chrono::{DateTime, Datelike as _, Utc};
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
    #[error("takes a time in the future")]
    Past,
    #[error("takes a time until the end of the year 9999 in UTC")]
    Late,
}

fn id(text: &str) -> Result<String, OptionError> {
    is_api_key_id(text)
        .then(|| text.to_owned())
        .ok_or(OptionError::Id)
}

fn time(text: &str) -> Result<DateTime<Utc>, OptionError> {
    let time = DateTime::parse_from_rfc3339(text)
        .map_err(|_| OptionError::Time)?
        .with_timezone(&Utc);
    if time <= Utc::now() {
        return Err(OptionError::Past);
    }
    // RFC 3339 has years of four digits, and an offset may move the time into the next one.
    if time.year() > 9999 {
        return Err(OptionError::Late);
    }
    Ok(time)
}
