//! What messages show of a file. A secret may be in the wrong place of it, so a message shows only what cannot be one.

use super::url::has_user;
use crate::access::api_key::PREFIX;

/// The longest name that a message shows.
const MAX_SHOWN: usize = 32;
/// Names of this many hex digits may be secrets. The secret of an API key has 64; ids in issuers have up to 32.
const SECRET_DIGITS: usize = 40;

/// An entry, by its number in its table and, unless it may be secret, its name.
pub(super) fn entry_name(table: &str, number: usize, name: Option<&String>) -> String {
    match name.filter(|name| !may_be_secret(name)) {
        Some(name) => format!("[[{table}]] number {number} ({name})"),
        None => format!("[[{table}]] number {number}"),
    }
}

/// An issuer, by its number and, if it is nothing but the URL of a server, its name.
pub(super) fn issuer_name(number: usize, issuer: &String) -> String {
    let is_url = issuer.starts_with("https://") || issuer.starts_with("http://");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":/.-_~".contains(&byte);
    let is_shown = is_url && issuer.bytes().all(plain) && !has_user(issuer);
    entry_name("issuer", number, is_shown.then_some(issuer))
}

/// What stands for a scope, if it looks like one.
pub(super) fn scope_name(name: &str) -> String {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let (first, second) = name.split_once(':').unwrap_or((name, "x"));
    if name.len() <= MAX_SHOWN && is_word(first) && is_word(second) {
        format!("{name:?}")
    } else {
        "a value".to_owned()
    }
}

fn may_be_secret(name: &str) -> bool {
    let mut parts = name.split(|c: char| !c.is_ascii_hexdigit());
    name.contains(PREFIX) || parts.any(|part| part.len() >= SECRET_DIGITS)
}

/// A message of the parser without the names and values of the file that may be secret.
pub(super) fn without_values(message: &str) -> String {
    const UNKNOWN: &str = "unknown field `";
    // The name may have any character. What the parser expected follows the last of its kind.
    let unknown = message.strip_prefix(UNKNOWN);
    if let Some((name, expected)) = unknown.and_then(|rest| rest.rsplit_once("`, expected ")) {
        let name = if is_field(name) { name } else { "…" };
        return format!("{UNKNOWN}{name}`, expected {expected}");
    }
    without_names(&without_text(message))
}

/// A message without what is between its outermost quotes.
fn without_text(message: &str) -> String {
    match (message.split_once('"'), message.rsplit_once('"')) {
        (Some((before, _)), Some((_, after))) => format!("{before}…{after}"),
        _ => message.to_owned(),
    }
}

/// A message without what is between its outermost backticks, unless that is a list of fields and punctuation.
fn without_names(message: &str) -> String {
    let (Some((before, rest)), Some((_, after))) =
        (message.split_once('`'), message.rsplit_once('`'))
    else {
        return message.to_owned();
    };
    let names = rest.rsplit_once('`').map_or("", |(names, _)| names);
    let is_name = |name: &str| is_field(name) || (name.len() <= 3 && !has_alphanumeric(name));
    let is_shown = names.split('`').enumerate().all(|(at, part)| match at % 2 {
        0 => is_name(part),
        _ => matches!(part, ", " | " or " | ", expected " | ", expected one of "),
    });
    if is_shown {
        message.to_owned()
    } else {
        format!("{before}`…`{after}")
    }
}

fn has_alphanumeric(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

/// Whether a text looks like the name of a field.
fn is_field(name: &str) -> bool {
    let is_word = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    name == "sha256" || (!name.is_empty() && name.len() <= MAX_SHOWN && is_word)
}
