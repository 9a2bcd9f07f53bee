//! Reads the parameters of a query.

use actix_web::HttpRequest;
use uuid::Uuid;

use super::problem::Problem;
use crate::domain::Violation;
use crate::store::ListQuery;

/// The most orders of one page, and the number when the client does not say.
pub(super) const MAX_LIMIT: u32 = 100;

/// The parameters of a list. Every one that does not fit is named.
pub(super) fn list(request: &HttpRequest) -> Result<ListQuery, Problem> {
    let mut limit = None;
    let mut starting_after = None;
    let mut violations = Vec::new();
    for (name, value) in form_urlencoded::parse(request.query_string().as_bytes()) {
        let read = match &*name {
            "limit" => parse_limit(&value).and_then(|value| once(&mut limit, value)),
            "starting_after" => parse_id(&value).and_then(|value| once(&mut starting_after, value)),
            _ => Err("is not a parameter of this list".to_owned()),
        };
        if let Err(detail) = read {
            violations.push(Violation::new(format!("/{name}"), detail));
        }
    }
    if violations.is_empty() {
        Ok(ListQuery {
            limit: limit.unwrap_or(MAX_LIMIT),
            starting_after,
        })
    } else {
        Err(violations.into())
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("must be given once".to_owned()),
    }
}

/// A number from 1; larger ones than the maximum, however large, are the maximum.
fn parse_limit(text: &str) -> Result<u32, String> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()) && text.bytes().any(|b| b != b'0');
    if number {
        Ok(text.parse().unwrap_or(MAX_LIMIT).min(MAX_LIMIT))
    } else {
        Err(format!("must be a whole number from 1 to {MAX_LIMIT}"))
    }
}

fn parse_id(text: &str) -> Result<Uuid, String> {
    order_id(text).ok_or_else(|| "must be the id of an order".to_owned())
}

/// An id in the hyphenated form of RFC 9562, the only one that answers contain.
pub(super) fn order_id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        for (text, limit) in [
            ("1", Some(1)),
            ("100", Some(100)),
            ("101", Some(100)),
            ("007", Some(7)),
            ("99999999999999999999", Some(100)),
            ("0", None),
            ("00", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("ten", None),
        ] {
            assert_eq!(parse_limit(text).ok(), limit, "{text:?}");
        }
    }

    #[test]
    fn ids() {
        let id = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071";
        assert!(order_id(id).is_some());
        assert!(order_id(&id.to_uppercase()).is_some());
        for bad in [
            "",
            "1",
            &id.replace('-', ""),
            &format!("{{{id}}}"),
            &format!("urn:uuid:{id}"),
        ] {
            assert_eq!(order_id(bad), None, "{bad}");
        }
    }
}
