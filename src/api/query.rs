//! Reads the queries of the feed and of the events of one order, and the values of parameters.

pub(super) mod orders;

use actix_web::HttpRequest;
use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

use crate::domain::ShortText;
use crate::http::problem::Problem;
use crate::http::request::query::{Parameter, ParameterError, read};
use crate::store::{Cursor, ListQuery};

/// The maximum number of entries of a page, and the default. An order may take about 200 KiB, so this also bounds
/// the memory of a response.
const MAX_LIMIT: u32 = ListQuery::MAX_LIMIT;

/// Stores the value of a parameter in `slot`.
fn assign<T>(slot: &mut T, value: Result<T, ParameterError>) -> Result<(), ParameterError> {
    *slot = value?;
    Ok(())
}

/// Reads the query of the feed: the cursor after which to continue, and the maximum number of events.
pub(super) fn feed(request: &HttpRequest) -> Result<(Option<Cursor>, u32), Problem> {
    let (mut after, mut limit) = (None, MAX_LIMIT);
    let cursor = |text: &str| {
        text.parse()
            .map(Some)
            .map_err(|_| ParameterError::new("must be a cursor from a response"))
    };
    read(
        request,
        &mut [
            Parameter::once("after", &mut |text| assign(&mut after, cursor(text))),
            Parameter::once("limit", &mut |text| assign(&mut limit, parse_limit(text))),
        ],
    )?;
    Ok((after, limit))
}

/// Reads the query of the events of one order: the version after which to continue, and the maximum number of
/// events.
pub(super) fn order_events(request: &HttpRequest) -> Result<(i32, u32), Problem> {
    let (mut after, mut limit) = (0, MAX_LIMIT);
    let version = |text: &str| {
        text.parse()
            .ok()
            .filter(|version| *version >= 0 && !text.starts_with('+'))
            .ok_or_else(|| ParameterError::new("must be the version of an order"))
    };
    read(
        request,
        &mut [
            Parameter::once("after", &mut |text| assign(&mut after, version(text))),
            Parameter::once("limit", &mut |text| assign(&mut limit, parse_limit(text))),
        ],
    )?;
    Ok((after, limit))
}

/// Parses a positive number. Numbers above the maximum, however large, mean the maximum.
fn parse_limit(text: &str) -> Result<u32, ParameterError> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()) && text.bytes().any(|b| b != b'0');
    if number {
        Ok(text.parse().unwrap_or(MAX_LIMIT).min(MAX_LIMIT))
    } else {
        let detail = format!("must be an integer from 1 to {MAX_LIMIT}");
        Err(ParameterError::new(detail))
    }
}

fn parse_id(text: &str) -> Result<Uuid, ParameterError> {
    order_id(text).ok_or_else(|| ParameterError::new("must be the id of an order"))
}

fn parse_short_text(text: &str) -> Result<String, ParameterError> {
    ShortText::parse(text.to_owned())
        .map(ShortText::into_string)
        .map_err(|error| ParameterError::new(error.to_string()))
}

/// Parses an id in the hyphenated form of RFC 9562, the only form that responses contain.
pub(super) fn order_id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36)
}

/// The times that orders can have and that RFC 3339 can write in UTC: a link repeats a time of its request.
const EARLIEST: DateTime<Utc> = DateTime::UNIX_EPOCH;
const LATEST_SECONDS: i64 = 253_402_300_799;

/// Parses a time of RFC 3339.
fn parse_time(text: &str) -> Result<DateTime<Utc>, ParameterError> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| {
            ParameterError::new(
                "must be a time with a zone (RFC 3339), such as 2026-11-22T06:19:00Z; a plus sign is written as %2B",
            )
        })
}

/// The bound of a range. A time before or after all times that orders can have becomes the first or the last of them,
/// which has the same meaning.
fn bound(time: DateTime<Utc>) -> DateTime<Utc> {
    let latest = DateTime::from_timestamp(LATEST_SECONDS, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
    time.clamp(EARLIEST, latest)
}

/// Writes a bound so that [`parse_time`] and [`bound`] return the same.
fn time_text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests;
