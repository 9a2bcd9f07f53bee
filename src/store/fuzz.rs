//! Fuzz targets: cursors and URLs of databases.
#![allow(clippy::expect_used, reason = "a target fails by a panic")]

use uuid::Uuid;

use super::cursor::{CURSOR_BYTES, Cursor, EventKey, Position};
use super::cursor_key::CursorKey;
use super::database_url::{check_database_url, describe_database_url};
use crate::config::DatabaseUrl;
use crate::domain::Tenant;

/// A cursor has one text. Only the one that was sealed for a tenant opens, and it opens to its position.
pub(crate) fn cursor(data: &[u8]) {
    let key = CursorKey::new(vec![7; 32].into()).expect("a key has 32 bytes");
    let tenant = Tenant::default();
    let text = std::str::from_utf8(data).ok();
    if let Some(cursor) = text.and_then(|text| text.parse::<Cursor>().ok()) {
        assert_eq!(Some(cursor.to_string().as_str()), text);
        assert_eq!(key.open(&tenant, &cursor), None, "forged");
    }
    let Some((position, flipped)) = position(data) else {
        return;
    };
    let sealed = key.seal(&tenant, position).expect("a position is sealed");
    assert_eq!(key.open(&tenant, &sealed), Some(position));
    assert_eq!(sealed.to_string().parse(), Ok(sealed));
    let other = Tenant::parse("other").expect("a tenant");
    assert_eq!(key.open(&other, &sealed), None);
    let mut changed = sealed.0;
    let bit = usize::from(flipped) % (8 * CURSOR_BYTES);
    if let Some(byte) = changed.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
    assert_eq!(key.open(&tenant, &Cursor(changed)), None);
}

/// A position, and the number of a bit.
fn position(data: &[u8]) -> Option<(Position, u16)> {
    let (flipped, data) = data.split_first_chunk()?;
    let (position, data) = data.split_first_chunk()?;
    let (seq, data) = data.split_first_chunk()?;
    let (occurred_at, data) = data.split_first_chunk()?;
    let (version, data) = data.split_first_chunk()?;
    let event = EventKey {
        position: i64::from_be_bytes(*position),
        seq: i64::from_be_bytes(*seq),
        order_id: Uuid::from_bytes(*data.first_chunk()?),
        version: i32::from_be_bytes(*version),
        occurred_at: i64::from_be_bytes(*occurred_at),
    };
    // No order has this id.
    let event = (!event.order_id.is_nil()).then_some(event);
    Some((Position(event), u16::from_be_bytes(*flipped)))
}

/// The end of the password of each URL.
const SECRET: &str = "Geheim7";

/// No text for users or logs contains the password, whatever precedes it. URLs in which libpq reads the secret as part of
/// another value are left out: after an `&` in a parameter, and after `@` and `=` in the login.
pub(crate) fn database_url(data: &[u8]) {
    let Some(text) = std::str::from_utf8(data)
        .ok()
        .filter(|text| !text.contains(SECRET))
    else {
        return;
    };
    let (before, after) = text.split_once('\n').unwrap_or((text, "h/d"));
    let in_login = !(before.contains('@') && before.contains('='));
    let in_parameter = !before.contains('&') && !after.contains(['@', '=']);
    let urls = [
        in_login.then(|| format!("postgres://u:{before}{SECRET}@{after}")),
        in_parameter.then(|| format!("postgres://{after}?password={before}{SECRET}")),
        Some(text.to_owned()),
    ];
    for url in urls.into_iter().flatten() {
        let Ok(url) = DatabaseUrl::parse(&url) else {
            continue;
        };
        let described = describe_database_url(&url);
        let checked = check_database_url(&url).map_err(|error| error.to_string());
        let message = checked.err().unwrap_or_default();
        for shown in [described, message, format!("{url:?}")] {
            assert!(!shown.contains(SECRET), "{shown:?} for {:?}", url.expose());
        }
    }
}
