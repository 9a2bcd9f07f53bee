//! Reads the queries of the lists and of the feed.

use actix_web::HttpRequest;
use uuid::Uuid;

use crate::domain::{ShortText, UnknownStatus, Violation};
use crate::http::problem::Problem;
use crate::http::request::query::{ParameterError, read};
use crate::store::{Cursor, ListFilter, ListQuery};

/// The maximum number of entries of a page, and the default. An order may take about 100 KiB, so this also bounds
/// the memory of a response.
const MAX_LIMIT: u32 = ListQuery::MAX_LIMIT;

/// Stores the value of a parameter in `slot`.
fn assign<T>(slot: &mut T, value: Result<T, ParameterError>) -> Result<(), ParameterError> {
    *slot = value?;
    Ok(())
}

/// Reads the query of a list of orders.
pub(super) fn list(request: &HttpRequest) -> Result<ListQuery, Problem> {
    orders(request, parse_limit)
}

/// Reads the query of an export, which has the parameters of a list except `limit`.
pub(super) fn export(request: &HttpRequest) -> Result<ListQuery, Problem> {
    let no_limit = "cannot be combined with Accept: application/x-ndjson, which gives all orders";
    orders(request, |_| Err(ParameterError::new(no_limit)))
}

fn orders(
    request: &HttpRequest,
    parse_limit: impl Fn(&str) -> Result<u32, ParameterError>,
) -> Result<ListQuery, Problem> {
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
            ("limit", &mut |text| assign(limit, parse_limit(text))),
            ("starting_after", &mut |text| {
                assign(starting_after, parse_id(text).map(Some))
            }),
            ("status", &mut |text| {
                let parsed = text.parse().map(Some);
                assign(
                    status,
                    parsed.map_err(|error: UnknownStatus| ParameterError::new(error.to_string())),
                )
            }),
            ("product_id", &mut |text| {
                assign(&mut product_id, parse_short_text(text).map(Some))
            }),
            ("customer_id", &mut |text| {
                assign(&mut customer_id, parse_short_text(text).map(Some))
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
            ("after", &mut |text| assign(&mut after, cursor(text))),
            ("limit", &mut |text| assign(&mut limit, parse_limit(text))),
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
            ("after", &mut |text| assign(&mut after, version(text))),
            ("limit", &mut |text| assign(&mut limit, parse_limit(text))),
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

/// Returns the target of the link to the next page of a list.
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
