//! Fuzz targets: conditional requests and `traceparent`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a target fails by a panic"
)]

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};

use super::conditional::{etag, if_match, if_none_match};
use crate::domain::{IfMatch, is_traceparent};

fn headers(name: &HeaderName, values: &[&[u8]]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(name.clone(), HeaderValue::from_bytes(value).ok()?);
    }
    Some(headers)
}

/// Several headers mean their list in one header (RFC 9110, section 5.3), a version is found only if its tag is there,
/// and the weak comparison finds at least what the strong one finds (section 8.8.3.2).
pub(crate) fn conditions(data: &[u8]) {
    let lines: Vec<_> = data.split(|byte| *byte == b'\n').collect();
    let Some(strong) = headers(&IF_MATCH, &lines) else {
        return;
    };
    let weak = headers(&IF_NONE_MATCH, &lines).expect("the values are valid");
    let (strong, weak) = (if_match(&strong), if_none_match(&weak));
    assert_eq!(strong.is_ok(), weak.is_ok());
    let (Ok(strong), Ok(weak)) = (strong, weak) else {
        return;
    };
    let weak = weak.expect("the header is present");
    if let IfMatch::Versions(versions) = &strong {
        for version in versions {
            let tag = etag(*version);
            let found = data.windows(tag.len()).any(|part| part == tag.as_bytes());
            assert!(found && weak.allows(*version), "{tag}");
        }
        let one = lines.join(b", ".as_slice());
        let one = headers(&IF_MATCH, &[&one]).expect("the values are valid");
        assert_eq!(if_match(&one).ok(), Some(strong));
    } else {
        assert_eq!(weak, IfMatch::Any);
    }
}

/// W3C Trace Context, section 3.2, by the position of each character.
fn is_valid(text: &[u8]) -> bool {
    let hex = |range: std::ops::Range<usize>| {
        let digits = &text[range];
        digits
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zero = |range: std::ops::Range<usize>| text[range].iter().all(|byte| *byte == b'0');
    (55..=256).contains(&text.len())
        && [2, 35, 52].iter().all(|at| text[*at] == b'-')
        && hex(0..2)
        && hex(3..35)
        && hex(36..52)
        && hex(53..55)
        && !zero(3..35)
        && !zero(36..52)
        && &text[..2] != b"ff"
        && match text.get(55) {
            None => true,
            Some(next) => *next == b'-' && &text[..2] != b"00",
        }
}

/// Exactly the valid values are accepted.
pub(crate) fn traceparent(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        assert_eq!(is_traceparent(text), is_valid(data));
    }
    if let Some(headers) = headers(&HeaderName::from_static("traceparent"), &[data]) {
        let read = super::traceparent::traceparent(&headers);
        // A later version may append more, which is not understood unless it is ASCII.
        assert_eq!(read.is_some(), is_valid(data) && data.is_ascii());
    }
}
