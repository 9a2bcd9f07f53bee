//! Places in the feed of events, and the text by which clients name them.
//!
//! A cursor names the last event that was delivered: position, sequence, order, version and time. Reading
//! continues behind exactly that event or not at all. If a failover or a recovery has lost it, or has put
//! another event in its place, the history is another one than the reader has seen, and what lies behind
//! the place says nothing about what the reader lacks. The time tells two copies of a database apart that
//! changed the same order in different ways: both count positions, sequences and versions on from the
//! same numbers.
//!
//! Retention is the one reason for which an event may be gone and the cursor still be good. It records the
//! last event that it has removed, the floor. A reader that has read everything up to a floor stands at
//! exactly this event: no event lies between. One that stands before it lacks something that is gone. One
//! that stands at another event, below the floor, comes from another history. So there is no need to
//! record how far the reader had looked beyond its last event.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// An event as the feed knows it. The order is that of the feed: position, then sequence, which no two
/// events of one history share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The writing transaction; always 0 on SQLite.
    pub(super) position: i64,
    pub(super) seq: i64,
    pub(super) order_id: Uuid,
    pub(super) version: i32,
    /// When the event happened, in microseconds since 1970, which is as exact as both databases are.
    pub(super) occurred_at: i64,
}

impl Place {
    /// Before every event that may be written.
    pub(super) const BEGINNING: Self = Self {
        position: i64::MIN,
        seq: i64::MIN,
        order_id: Uuid::nil(),
        version: 0,
        occurred_at: 0,
    };
}

/// A place in the feed of events: behind an event, or before the first one that there ever was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub(super) Option<Place>);

/// What the database says about a cursor, in the snapshot from which it reads what lies behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// The last event that retention has removed.
    pub(super) floor: Option<Place>,
    /// Whether the event of the cursor is there, and is the same.
    pub(super) present: bool,
}

impl Cursor {
    /// Where it is in the order of the feed.
    pub(super) fn in_feed(self) -> Option<(i64, i64)> {
        self.0.map(|place| (place.position, place.seq))
    }

    /// Whether reading may continue here.
    pub(super) fn is_good(self, evidence: Evidence) -> bool {
        let Evidence { floor, present } = evidence;
        // Everything up to the floor was delivered; or, for both, nothing ever was.
        self.0 == floor || present && self.in_feed() > Self(floor).in_feed()
    }
}

/// The first byte of the binary form of a cursor before the first event. A change of a form takes another
/// number.
const BEFORE_ALL: u8 = 0;
/// The first byte of the binary form of a cursor behind an event. The form with the number 1 had no time.
const BEHIND_EVENT: u8 = 2;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::new();
        if let Some(place) = self.0 {
            bytes.push(BEHIND_EVENT);
            bytes.extend(place.position.to_be_bytes());
            bytes.extend(place.seq.to_be_bytes());
            bytes.extend(place.order_id.as_bytes());
            bytes.extend(place.version.to_be_bytes());
            bytes.extend(place.occurred_at.to_be_bytes());
        } else {
            bytes.push(BEFORE_ALL);
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        // Longer ones are no cursors; they are not worth decoding.
        if text.len() > 64 {
            return Err(InvalidCursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let rest = match bytes.split_first() {
            Some((&BEFORE_ALL, [])) => return Ok(Self(None)),
            Some((&BEHIND_EVENT, rest)) => rest,
            _ => return Err(InvalidCursor),
        };
        let (position, rest) = number(rest).ok_or(InvalidCursor)?;
        let (seq, rest) = number(rest).ok_or(InvalidCursor)?;
        let (order_id, rest) = rest.split_first_chunk().ok_or(InvalidCursor)?;
        let (version, rest) = rest.split_first_chunk().ok_or(InvalidCursor)?;
        let (occurred_at, []) = number(rest).ok_or(InvalidCursor)? else {
            return Err(InvalidCursor);
        };
        Ok(Self(Some(Place {
            position,
            seq,
            order_id: Uuid::from_bytes(*order_id),
            version: i32::from_be_bytes(*version),
            occurred_at,
        })))
    }
}

fn number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((i64::from_be_bytes(*number), rest))
}

/// The text is not a cursor that a response contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCursor;

#[cfg(test)]
mod tests {
    use super::*;

    fn place(position: i64, seq: i64) -> Place {
        Place {
            position,
            seq,
            order_id: Uuid::from_u128(7),
            version: 3,
            occurred_at: 1_764_000_000_123_456,
        }
    }

    #[test]
    fn cursors_round_trip_and_compare_as_numbers() {
        for cursor in [
            Cursor(None),
            Cursor(Some(place(12, 7))),
            Cursor(Some(place(0, i64::MAX))),
        ] {
            let text = cursor.to_string();
            assert!(text.len() <= 60, "{text}");
            assert_eq!(text.parse(), Ok(cursor));
            for cut in (0..text.len()).filter_map(|end| text.get(..end)) {
                assert_eq!(cut.parse::<Cursor>(), Err(InvalidCursor));
            }
            assert!(format!("{text}AAAA").parse::<Cursor>().is_err());
        }
        assert!(Cursor(None) < Cursor(Some(place(i64::MIN, 0))));
        assert!(place(9, 1) < place(10, 0) && place(9, 9) < place(9, 10));
        for bad in [
            "", "-", "1", "12-7", "AA=", "AA==", "AB", "AQ", "AAAA", "Aé",
        ] {
            assert_eq!(bad.parse::<Cursor>(), Err(InvalidCursor), "{bad}");
        }
    }

    #[test]
    fn a_cursor_is_good_when_nothing_that_its_reader_lacks_is_gone() {
        let good = |cursor, floor, present| Cursor(cursor).is_good(Evidence { floor, present });
        let (one, two, three) = (Some(place(1, 1)), Some(place(2, 2)), Some(place(3, 3)));
        // Nothing was ever removed.
        assert!(good(None, None, false), "from the beginning");
        assert!(good(one, None, true));
        assert!(!good(one, None, false), "lost");
        // Everything up to two was removed.
        assert!(!good(None, two, false), "from a beginning that is gone");
        assert!(!good(one, two, false), "two was removed unseen");
        assert!(!good(one, two, true), "also if one is still there");
        assert!(good(two, two, false), "removed after it was delivered");
        assert!(good(two, two, true));
        assert!(good(three, two, true));
        assert!(!good(three, two, false), "lost");
        let version = Place {
            version: 4,
            ..place(2, 2)
        };
        let time = Place {
            occurred_at: 1_764_000_000_123_457,
            ..place(2, 2)
        };
        for other in [Some(version), Some(time)] {
            assert!(!good(other, two, false), "another history");
            assert!(!good(other, two, true));
        }
    }
}
