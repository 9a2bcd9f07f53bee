//! Reads the parameters of a query.

use std::borrow::Cow;

use actix_web::HttpRequest;
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::domain::{ShortText, Violation, pointer_token};
use crate::http::problem::Problem;
use crate::store::{Cursor, ListFilter, ListQuery};

/// The most entries of one page, and the number when the client does not say. An order may have
/// some 100 KiB, so this also bounds the memory of an answer.
const MAX_LIMIT: u32 = ListQuery::MAX_LIMIT;

/// A query has room for thousands of mistakes; a person reads a few.
const MOST: usize = 10;

/// A parameter: its name, and what reads it.
type Parameter<'a> = (&'a str, &'a mut dyn FnMut(&str) -> Result<(), String>);

/// Reads a query. Every parameter that does not fit, comes twice or is unknown is named.
fn read(request: &HttpRequest, parameters: &mut [Parameter<'_>]) -> Result<(), Problem> {
    let mut violations = Vec::new();
    let mut seen = vec![false; parameters.len()];
    for pair in request
        .query_string()
        .split('&')
        .filter(|pair| !pair.is_empty())
    {
        let (raw, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(raw);
        let known = parameters
            .iter_mut()
            .zip(&mut seen)
            .find(|((n, _), _)| name.as_deref() == Some(*n));
        let result = match (known, decode(value)) {
            (_, None) => Err(NOT_UTF_8.to_owned()),
            (None, _) if name.is_none() => Err(NOT_UTF_8.to_owned()),
            (None, _) => Err("is not a parameter here".to_owned()),
            (Some(((_, read), seen)), Some(value)) => {
                if std::mem::replace(seen, true) {
                    Err("must be given once".to_owned())
                } else {
                    read(&value)
                }
            }
        };
        let name = name.as_deref().unwrap_or(raw);
        if let Err(detail) = result {
            violations.push(Violation::new(format!("/{}", pointer_token(name)), detail));
        }
        if violations.len() == MOST {
            break;
        }
    }
    if violations.is_empty() {
        Ok(())
    } else {
        Err(violations.into())
    }
}

/// Decodes a name or a value (application/x-www-form-urlencoded). What is not UTF-8 is `None`: with
/// replacement characters it would match what really contains them.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
        return Some(Cow::Owned(decoded.into_owned()));
    }
    percent_decode_str(text).decode_utf8().ok()
}

const NOT_UTF_8: &str = "must be UTF-8, percent-encoded";

/// Puts what was read into its place.
fn into<T>(slot: &mut T, read: Result<T, String>) -> Result<(), String> {
    *slot = read?;
    Ok(())
}

/// The parameters of a list of orders.
pub(super) fn list(request: &HttpRequest) -> Result<ListQuery, Problem> {
    let mut list = ListQuery::FIRST_PAGE;
    let (mut product_id, mut customer_id) = (None, None);
    let ListQuery {
        limit,
        starting_after,
        status,
        filter,
    } = &mut list;
    read(
        request,
        &mut [
            ("limit", &mut |text| into(limit, parse_limit(text))),
            ("starting_after", &mut |text| {
                into(starting_after, parse_id(text).map(Some))
            }),
            ("status", &mut |text| {
                let parsed = text.parse().map(Some);
                into(
                    status,
                    parsed.map_err(|error: crate::domain::UnknownStatus| error.to_string()),
                )
            }),
            ("product_id", &mut |text| {
                into(&mut product_id, parse_label(text).map(Some))
            }),
            ("customer_id", &mut |text| {
                into(&mut customer_id, parse_label(text).map(Some))
            }),
        ],
    )?;
    *filter = match (product_id, customer_id) {
        (Some(_), Some(_)) => {
            let detail = "must not be combined with product_id; status may be combined with either";
            return Err(Violation::new("/customer_id", detail).into());
        }
        (Some(product), None) => Some(ListFilter::Product(product)),
        (None, Some(customer)) => Some(ListFilter::Customer(customer)),
        (None, None) => None,
    };
    Ok(list)
}

/// The parameters of the feed: where to go on, and how many events at most.
pub(super) fn feed(request: &HttpRequest) -> Result<(Option<Cursor>, u32), Problem> {
    let (mut after, mut limit) = (None, MAX_LIMIT);
    let cursor = |text: &str| {
        text.parse()
            .map(Some)
            .map_err(|_| "must be a cursor from an answer".to_owned())
    };
    read(
        request,
        &mut [
            ("after", &mut |text| into(&mut after, cursor(text))),
            ("limit", &mut |text| into(&mut limit, parse_limit(text))),
        ],
    )?;
    Ok((after, limit))
}

/// The parameters of the events of one order: behind which version, and how many at most.
pub(super) fn order_events(request: &HttpRequest) -> Result<(i32, u32), Problem> {
    let (mut after, mut limit) = (0, MAX_LIMIT);
    let version = |text: &str| {
        text.parse()
            .ok()
            .filter(|version| *version >= 0 && !text.starts_with('+'))
            .ok_or_else(|| "must be the version of an order".to_owned())
    };
    read(
        request,
        &mut [
            ("after", &mut |text| into(&mut after, version(text))),
            ("limit", &mut |text| into(&mut limit, parse_limit(text))),
        ],
    )?;
    Ok((after, limit))
}

/// A number from 1; larger ones than the maximum, however large, are the maximum.
fn parse_limit(text: &str) -> Result<u32, String> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()) && text.bytes().any(|b| b != b'0');
    if number {
        Ok(text.parse().unwrap_or(MAX_LIMIT).min(MAX_LIMIT))
    } else {
        Err(format!("must be a whole number from 1 to {}", MAX_LIMIT))
    }
}

fn parse_id(text: &str) -> Result<Uuid, String> {
    order_id(text).ok_or_else(|| "must be the id of an order".to_owned())
}

fn parse_label(text: &str) -> Result<String, String> {
    ShortText::parse(text.to_owned())
        .map(ShortText::into_string)
        .map_err(|error| error.to_string())
}

/// An id in the hyphenated form of RFC 9562, the only one that answers contain.
pub(super) fn order_id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36)
}

/// The target of a link to the page of a list that follows this one.
pub(super) fn next_page(list: &ListQuery, last: Uuid) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &list.limit.to_string());
    if let Some(status) = list.status {
        query.append_pair("status", status.as_str());
    }
    match &list.filter {
        Some(ListFilter::Product(id)) => drop(query.append_pair("product_id", id)),
        Some(ListFilter::Customer(id)) => drop(query.append_pair("customer_id", id)),
        None => {}
    }
    query.append_pair("starting_after", &last.to_string());
    format!("/api/v1/orders?{}", query.finish())
}

#[cfg(test)]
mod tests;
