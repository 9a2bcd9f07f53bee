//! Integers in JSON, read from their text, so that they are exact.

use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The most digits of an `i64`.
const MAX_DIGITS: usize = 19;

/// Reads an integer. `3.0` and `3e0` are integers: JSON Schema (section 6.1.1) accepts any number with a zero fraction,
/// and RFC 8259 has a single number type. A number beyond the range of `i64` becomes the end of that range, because it
/// is out of range in any case, and the domain reports that.
///
/// As a floating-point number, `0.99999999999999999` would be 1.
pub(crate) fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = <&RawValue>::deserialize(deserializer)?.get();
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => {
            parse(text).map_err(|unexpected| D::Error::invalid_type(unexpected, &"an integer"))
        }
    }
}

/// As [`integer`], for a member that is present.
pub(crate) fn present_integer<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<i64>, D::Error> {
    integer(deserializer).map(Some)
}

/// As [`integer`]; null is no number.
pub(crate) fn optional_integer<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<i64>, D::Error> {
    let number = Option::<Integer>::deserialize(deserializer)?;
    Ok(number.map(|number| number.0))
}

/// A number as [`integer`] reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Integer(pub(crate) i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        integer(deserializer).map(Self)
    }
}

/// Parses a JSON value that is not the plain text of an `i64`.
fn parse(text: &str) -> Result<i64, Unexpected<'_>> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text),
    };
    match unsigned.bytes().next() {
        Some(b'0'..=b'9') => {}
        Some(b'"') => return Err(Unexpected::Other("string")),
        Some(b't' | b'f') => return Err(Unexpected::Other("boolean")),
        Some(b'[') => return Err(Unexpected::Seq),
        Some(b'{') => return Err(Unexpected::Map),
        _ => return Err(Unexpected::Unit),
    }
    let limit = if negative { i64::MIN } else { i64::MAX };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let nonzero = significant.trim_start_matches('0');
    if nonzero.is_empty() {
        return Ok(0);
    }
    // An exponent that is no `i32` moves the point beyond any number that fits here.
    let exponent = exponent
        .parse::<i32>()
        .unwrap_or(if exponent.starts_with('-') {
            i32::MIN
        } else {
            i32::MAX
        });
    // The number is `nonzero` with this many zeros after it.
    let zeros = i64::from(exponent) + length(&digits) - length(fraction) - length(significant);
    let Ok(zeros) = usize::try_from(zeros) else {
        return Err(Unexpected::Other("number with a fraction"));
    };
    if nonzero.len().saturating_add(zeros) > MAX_DIGITS {
        return Ok(limit);
    }
    let sign = if negative { "-" } else { "" };
    let integer = format!("{sign}{nonzero}{}", "0".repeat(zeros));
    Ok(integer.parse().unwrap_or(limit))
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Body {
        #[serde(deserialize_with = "integer")]
        n: i64,
    }

    fn read(text: &str) -> Result<i64, String> {
        let json = format!(r#"{{"n":{text}}}"#);
        let body: Result<Body, _> = serde_json::from_str(&json);
        body.map(|body| body.n).map_err(|error| error.to_string())
    }

    #[test]
    fn integers_are_exact_in_every_notation() {
        for (text, number) in [
            ("0", 0),
            ("-0", 0),
            ("-0.0e-400", 0),
            ("0e999999999999", 0),
            ("3", 3),
            ("-3", -3),
            ("3.0", 3),
            ("3.000e0", 3),
            ("-3E+0", -3),
            ("300e-2", 3),
            ("0.003e3", 3),
            ("1.5e1", 15),
            ("120e-1", 12),
            ("1e3", 1_000),
            ("9007199254740993.0", 9_007_199_254_740_993),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("922337203685477580.7e1", i64::MAX),
        ] {
            assert_eq!(read(text), Ok(number), "{text}");
        }
    }

    #[test]
    fn numbers_beyond_the_range_become_its_ends() {
        for (text, number) in [
            ("9223372036854775808", i64::MAX),
            ("-9223372036854775809", i64::MIN),
            ("1e19", i64::MAX),
            ("1e400", i64::MAX),
            ("-1e400", i64::MIN),
            ("1e99999999999999999999", i64::MAX),
        ] {
            assert_eq!(read(text), Ok(number), "{text}");
        }
        assert_eq!(read(&"9".repeat(400)), Ok(i64::MAX));
    }

    #[test]
    fn fractions_are_not_rounded_and_other_types_are_rejected() {
        for text in [
            "0.5",
            "0.99999999999999999",
            "999999999999.99999",
            "2.9999999999999999999",
            "1e-1",
            "1e-400",
            "1e-99999999999999999999",
            "15e-1",
            r#""3""#,
            "true",
            "null",
            "[3]",
            r#"{"n":3}"#,
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains("expected an integer"), "{text}: {error}");
        }
    }
}
