//! Reads the parameters of a query (application/x-www-form-urlencoded).

use std::borrow::Cow;

use actix_web::HttpRequest;
use percent_encoding::percent_decode_str;

use crate::domain::{Violation, pointer_token};
use crate::http::problem::Problem;

/// The maximum number of violations in a problem. A query can have thousands of mistakes.
const MAX_VIOLATIONS: usize = 10;

/// Why a parameter is rejected. The text continues a sentence that begins with the name of the parameter.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ParameterError(Cow<'static, str>);

impl ParameterError {
    pub(crate) fn new(detail: impl Into<Cow<'static, str>>) -> Self {
        Self(detail.into())
    }
}

/// A parameter of a query.
pub(crate) struct Parameter<'a> {
    name: &'a str,
    /// Whether it may be given several times.
    repeatable: bool,
    read: &'a mut dyn FnMut(&str) -> Result<(), ParameterError>,
}

impl<'a> Parameter<'a> {
    /// A parameter with this name, which may be given once. `read` receives its value.
    pub(crate) fn once(
        name: &'a str,
        read: &'a mut dyn FnMut(&str) -> Result<(), ParameterError>,
    ) -> Self {
        Self {
            name,
            repeatable: false,
            read,
        }
    }

    /// A parameter with this name, which may be given several times. `read` receives each of its values.
    pub(crate) fn repeatable(
        name: &'a str,
        read: &'a mut dyn FnMut(&str) -> Result<(), ParameterError>,
    ) -> Self {
        Self {
            name,
            repeatable: true,
            read,
        }
    }
}

/// Reads the query of a request.
///
/// # Errors
/// A problem that names each parameter that is unknown, given twice although it may be given once, or has a wrong
/// value.
pub(crate) fn read(request: &HttpRequest, parameters: &mut [Parameter<'_>]) -> Result<(), Problem> {
    let violations = violations(request.query_string(), parameters);
    if violations.is_empty() {
        Ok(())
    } else {
        Err(violations.into())
    }
}

/// Reads a query, and returns what is wrong with it.
fn violations(query: &str, parameters: &mut [Parameter<'_>]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut seen = vec![false; parameters.len()];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (raw, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(raw);
        let known = parameters
            .iter_mut()
            .zip(&mut seen)
            .find(|(known, _)| name.as_deref() == Some(known.name));
        let result = match (known, decode(value)) {
            (_, None) => Err(ParameterError::new(NOT_UTF_8)),
            (None, _) if name.is_none() => Err(ParameterError::new(NOT_UTF_8)),
            (None, _) => Err(ParameterError::new("is not a parameter of this resource")),
            (Some((parameter, seen)), Some(value)) => {
                if std::mem::replace(seen, true) && !parameter.repeatable {
                    Err(ParameterError::new("must be given once"))
                } else {
                    (parameter.read)(&value)
                }
            }
        };
        if let Err(error) = result {
            let name = name.as_deref().unwrap_or(raw);
            violations.push(Violation::new(
                format!("/{}", pointer_token(name)),
                error.to_string(),
            ));
        }
        if violations.len() == MAX_VIOLATIONS {
            break;
        }
    }
    violations
}

const NOT_UTF_8: &str = "must be percent-encoded UTF-8";

/// Decodes a name or a value. Returns `None` if it is not UTF-8: with replacement characters it would equal a text
/// that really contains them.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
        return Some(Cow::Owned(decoded.into_owned()));
    }
    percent_decode_str(text).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_repeatable_parameter_may_be_given_twice() {
        let (mut once, mut all) = (Vec::new(), Vec::new());
        let found = violations(
            "one=1&many=a&many=b&one=2&many=a",
            &mut [
                Parameter::once("one", &mut |text| {
                    once.push(text.to_owned());
                    Ok(())
                }),
                Parameter::repeatable("many", &mut |text| {
                    all.push(text.to_owned());
                    Ok(())
                }),
            ],
        );
        assert_eq!(found, [Violation::new("/one", "must be given once")]);
        assert_eq!(
            (once, all),
            (
                vec!["1".to_owned()],
                ["a", "b", "a"].map(str::to_owned).to_vec()
            )
        );
    }

    #[test]
    fn names_and_values_are_decoded_and_must_be_utf_8() {
        for (text, decoded) in [
            ("", Some("")),
            ("a+b%2Bc%20d", Some("a b+c d")),
            ("%C3%A9", Some("\u{e9}")),
            ("%EF%BF%BD", Some("\u{fffd}")),
            ("100%", Some("100%")),
            ("%zz", Some("%zz")),
            ("%FF", None),
            ("a+%C3", None),
            ("%ED%A0%80", None),
        ] {
            assert_eq!(decode(text).as_deref(), decoded, "{text}");
        }
    }
}
