//! What happened to orders, and where in the feed it stands.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A place in the feed of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(super) position: i64,
    pub(super) seq: i64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.position, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (position, seq) = text.split_once('-').ok_or(InvalidCursor)?;
        // 18 digits always fit, and last for ever.
        let digits =
            |part: &str| part.len() <= 18 && part.bytes().all(|byte| byte.is_ascii_digit());
        if !(digits(position) && digits(seq)) {
            return Err(InvalidCursor);
        }
        Ok(Self {
            position: position.parse()?,
            seq: seq.parse()?,
        })
    }
}

/// The text is not a cursor that an answer contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCursor;

impl From<ParseIntError> for InvalidCursor {
    fn from(_: ParseIntError) -> Self {
        Self
    }
}

/// A change of an order that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which order.
    pub order_id: Uuid,
    /// The version that it made.
    pub version: i32,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// The order after it, as JSON.
    pub data: String,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
    /// Where in the feed.
    pub cursor: Cursor,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_round_trip_and_compare_as_numbers() {
        let cursor = |text: &str| text.parse::<Cursor>();
        assert_eq!(cursor("12-7").unwrap().to_string(), "12-7");
        assert!(cursor("9-1").unwrap() < cursor("10-0").unwrap());
        assert!(cursor("9-9").unwrap() < cursor("9-10").unwrap());
        for bad in [
            "",
            "-",
            "1",
            "1-",
            "-1-1",
            "1--1",
            "+1-1",
            "a-1",
            "1-1-1",
            "99999999999999999999-1",
        ] {
            assert_eq!(cursor(bad), Err(InvalidCursor), "{bad}");
        }
    }
}
