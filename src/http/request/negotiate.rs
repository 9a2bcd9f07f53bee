//! Content negotiation (RFC 9110, section 12.4.2).

use actix_web::http::header::{HeaderMap, HeaderName};

/// Whether the header contains this value, unless its weight is 0, which means "not acceptable".
pub(crate) fn accepts(headers: &HeaderMap, header: &HeaderName, wanted: &str) -> bool {
    headers
        .get_all(header)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| {
            let mut parts = item.split(';').map(str::trim);
            let named = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case(wanted));
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            named
                && weight.is_none_or(|weight| weight.parse().is_ok_and(|weight: f32| weight > 0.0))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{ACCEPT, HeaderValue};

    #[test]
    fn a_weight_of_zero_is_not_acceptable() {
        for (accept, wanted) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; q=0.5", true),
            ("application/json, text/event-stream", true),
            ("text/event-stream;q=0", false),
            ("application/json, text/event-stream; q=0.0", false),
            ("text/event-streams", false),
            ("*/*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(
                accepts(&headers, &ACCEPT, "text/event-stream"),
                wanted,
                "{accept}"
            );
        }
    }
}
