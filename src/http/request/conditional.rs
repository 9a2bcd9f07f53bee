//! Conditional requests: entity tags, `If-Match` and `If-None-Match` (RFC 9110, sections 8.8.3
//! and 13.1).

use actix_web::http::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH};

use crate::domain::IfMatch;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;

/// Formats the version of an order as a strong entity tag.
pub(crate) fn etag(version: i32) -> String {
    format!("\"{version}\"")
}

/// The versions that the client wants to update. Without the header, any version matches.
///
/// The comparison is strong (RFC 9110, section 13.1.1): a weak tag never matches.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<IfMatch, Problem> {
    Ok(match tags(headers, IF_MATCH)? {
        None | Some(Tags::Any) => IfMatch::Any,
        Some(Tags::List(tags)) => {
            let strong = tags.iter().filter(|tag| !tag.weak);
            IfMatch::Versions(strong.filter_map(Tag::version).collect())
        }
    })
}

/// The versions that the client already has; `None` without the header.
///
/// The comparison is weak (RFC 9110, section 13.1.2).
pub(crate) fn if_none_match(headers: &HeaderMap) -> Result<Option<IfMatch>, Problem> {
    Ok(tags(headers, IF_NONE_MATCH)?.map(|tags| match tags {
        Tags::Any => IfMatch::Any,
        Tags::List(tags) => IfMatch::Versions(tags.iter().filter_map(Tag::version).collect()),
    }))
}

/// The problem of a request whose preconditions do not hold. The detail gives the reason if the headers
/// determine it.
pub(crate) fn failed(headers: &HeaderMap) -> Problem {
    let detail = match tags(headers, IF_MATCH) {
        Ok(Some(Tags::List(tags))) if !tags.is_empty() && tags.iter().all(|tag| tag.weak) => {
            "If-Match compares strongly, and the entity tag that was sent is weak (W/), so it matches \
             no version. A proxy may have weakened it: send it without the W/."
        }
        Ok(None) => "The order has a version that If-None-Match names.",
        _ => return ProblemKind::PreconditionFailed.into(),
    };
    Problem::new(ProblemKind::PreconditionFailed, detail)
}

enum Tags<'a> {
    Any,
    List(Vec<Tag<'a>>),
}

struct Tag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

impl Tag<'_> {
    /// The version that the tag names. Tags are compared as text, so `"01"` names no version.
    fn version(&self) -> Option<i32> {
        let text = std::str::from_utf8(self.opaque).ok()?;
        let version: i32 = text.parse().ok()?;
        (version.to_string() == text).then_some(version)
    }
}

/// The tags in all headers of this name.
fn tags<'a>(headers: &'a HeaderMap, name: HeaderName) -> Result<Option<Tags<'a>>, Problem> {
    let malformed = || {
        Problem::new(
            ProblemKind::MalformedRequest,
            format!("The header {name} is not a list of entity tags such as \"1\", nor *."),
        )
    };
    let mut list = Vec::new();
    let mut any = false;
    let mut given = false;
    for value in headers.get_all(&name) {
        given = true;
        // A tag may contain bytes above ASCII (RFC 9110, section 8.8.3), but no tag of this service does.
        let text = value.as_bytes();
        if text.trim_ascii() == b"*" {
            any = true;
        } else {
            parse_list(text.trim_ascii(), &mut list).ok_or_else(malformed)?;
        }
    }
    match (given, any, list.is_empty()) {
        (false, ..) => Ok(None),
        (true, true, true) => Ok(Some(Tags::Any)),
        // An empty list matches nothing.
        (true, false, _) => Ok(Some(Tags::List(list))),
        // `*` together with tags.
        (true, true, false) => Err(malformed()),
    }
}

/// A comma-separated list of `"opaque"` and `W/"opaque"`; empty elements are ignored (RFC 9110,
/// section 5.6.1.2).
fn parse_list<'a>(mut rest: &'a [u8], list: &mut Vec<Tag<'a>>) -> Option<()> {
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
            continue;
        }
        let (weak, quoted) = match rest.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let inner = quoted.strip_prefix(b"\"")?;
        let end = inner.iter().position(|byte| *byte == b'"')?;
        let (opaque, after) = inner.split_at(end);
        list.push(Tag { weak, opaque });
        rest = after.strip_prefix(b"\"")?.trim_ascii_start();
        if !(rest.is_empty() || rest.starts_with(b",")) {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn if_match_compares_strongly() {
        let parse = |values: &[&str]| if_match(&headers(IF_MATCH, values)).ok();
        assert_eq!(parse(&[]), Some(IfMatch::Any));
        assert_eq!(parse(&["*"]), Some(IfMatch::Any));
        assert_eq!(parse(&["\"3\""]), Some(IfMatch::Versions(vec![3])));
        assert_eq!(
            parse(&["\"1\" , ,W/\"2\",\"3\"", "\"x,y\""]),
            Some(IfMatch::Versions(vec![1, 3]))
        );
        assert_eq!(parse(&["\"01\", \"\""]), Some(IfMatch::Versions(vec![])));
        assert_eq!(parse(&[""]), Some(IfMatch::Versions(vec![])));
        for bad in ["3", "\"3", "\"1\" \"2\"", "*, \"1\"", "w/\"1\""] {
            assert_eq!(parse(&[bad]), None, "{bad}");
        }
        assert_eq!(parse(&["*", "\"1\""]), None);
    }

    #[test]
    fn if_none_match_compares_weakly() {
        let has = |values: &[&str]| {
            let versions = if_none_match(&headers(IF_NONE_MATCH, values)).ok()?;
            Some(versions.is_some_and(|versions| versions.allows(2)))
        };
        assert_eq!(has(&[]), Some(false));
        assert_eq!(has(&["*"]), Some(true));
        assert_eq!(has(&["W/\"2\""]), Some(true));
        assert_eq!(has(&["\"1\", \"2\""]), Some(true));
        assert_eq!(has(&["\"1\""]), Some(false));
        assert_eq!(has(&["\"é\""]), Some(false));
        assert_eq!(has(&["2"]), None);
    }
}
