//! Content negotiation (RFC 9110, section 12).

use actix_web::http::header::{ACCEPT, HeaderMap, HeaderName};

/// Whether the header contains this value, unless its weight is 0, which means "not acceptable".
pub(crate) fn accepts(headers: &HeaderMap, header: &HeaderName, wanted: &str) -> bool {
    items(headers, header).any(|(name, weight)| name.eq_ignore_ascii_case(wanted) && weight > 0.0)
}

/// Whether the client prefers the media type `wanted` to `default`, which it gets if it has no preference.
///
/// `wanted` must be in `Accept` by its name. A range such as `*/*` stands for `default`, so with equal weights a name
/// takes precedence over a range, and `default` over `wanted` if both are named.
pub(crate) fn prefers(headers: &HeaderMap, wanted: &str, default: &str) -> bool {
    let kind = default.split('/').next().unwrap_or_default();
    let (mut of_wanted, mut of_default) = (0.0, None);
    let mut of_range: Option<(bool, f32)> = None;
    for (name, weight) in items(headers, &ACCEPT) {
        if name.eq_ignore_ascii_case(wanted) {
            of_wanted = weight;
        } else if name.eq_ignore_ascii_case(default) {
            of_default = Some(weight);
        } else if let Some(range) = name.strip_suffix("/*") {
            // The most specific range determines the weight (RFC 9110, section 12.5.1).
            let is_kind = range.eq_ignore_ascii_case(kind);
            if is_kind || range == "*" && of_range.is_none_or(|(is_kind, _)| !is_kind) {
                of_range = Some((is_kind, weight));
            }
        }
    }
    of_wanted > 0.0
        && of_default.map_or_else(
            || of_range.is_none_or(|(_, of_range)| of_wanted >= of_range),
            |of_default| of_wanted > of_default,
        )
}

/// The items of a list with their weights. A weight that is not a number is 0.
fn items<'a>(
    headers: &'a HeaderMap,
    header: &HeaderName,
) -> impl Iterator<Item = (&'a str, f32)> + use<'a> {
    headers
        .get_all(header)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| {
                let (name, weight) = part.split_once('=')?;
                name.eq_ignore_ascii_case("q").then_some(weight)
            });
            let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            (name, weight)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn headers(accept: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers
    }

    #[test]
    fn a_weight_of_zero_is_not_acceptable() {
        for (accept, wanted) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; q=0.5", true),
            ("application/json, text/event-stream", true),
            ("text/event-stream;q=0", false),
            ("text/event-stream;Q=0", false),
            ("text/event-stream;q=x", false),
            ("application/json, text/event-stream; q=0.0", false),
            ("text/event-streams", false),
            ("*/*", false),
        ] {
            assert_eq!(
                accepts(&headers(accept), &ACCEPT, "text/event-stream"),
                wanted,
                "{accept}"
            );
        }
    }

    #[test]
    fn a_media_type_that_is_named_is_preferred_by_its_weight() {
        for (accept, preferred) in [
            ("application/x-ndjson", true),
            ("Application/X-NDJSON; charset=utf-8; q=0.1", true),
            ("application/x-ndjson;q=0", false),
            ("application/x-ndjson, */*", true),
            ("*/*, application/x-ndjson", true),
            ("application/x-ndjson, */*;q=0.1", true),
            ("application/x-ndjson;q=0.5, */*", false),
            ("application/x-ndjson;q=0.5, application/*", false),
            ("application/x-ndjson;q=0.5, application/*;q=0.4, */*", true),
            ("*/*, application/*;q=0.4, application/x-ndjson;q=0.5", true),
            ("application/x-ndjson;q=0.5, text/*", true),
            ("application/json, application/x-ndjson", false),
            ("application/json;q=0.9, application/x-ndjson", true),
            ("application/json, application/x-ndjson;q=0.9", false),
            (
                "application/json;q=0, application/x-ndjson;q=0.1, */*",
                true,
            ),
            ("application/x-ndjsons", false),
            ("application/*", false),
            ("*/*", false),
            ("", false),
        ] {
            assert_eq!(
                prefers(&headers(accept), "application/x-ndjson", "application/json"),
                preferred,
                "{accept}"
            );
        }
        let none = HeaderMap::new();
        assert!(!prefers(&none, "application/x-ndjson", "application/json"));
    }

    #[test]
    fn several_headers_are_one_list() {
        let mut headers = headers("application/x-ndjson;q=0.5");
        headers.append(ACCEPT, HeaderValue::from_static("application/json"));
        assert!(!prefers(
            &headers,
            "application/x-ndjson",
            "application/json"
        ));
        assert!(accepts(&headers, &ACCEPT, "application/x-ndjson"));
    }
}
