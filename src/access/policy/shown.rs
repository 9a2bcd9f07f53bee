//! What messages show of a file. A secret may be in the wrong place of it.

/// The longest name that a message shows. Every API key and token is longer.
const MAX_SHOWN: usize = 32;

/// A name from the file, for a message.
pub(super) fn shown(name: &str) -> &str {
    if name.chars().count() <= MAX_SHOWN {
        name
    } else {
        "…"
    }
}

/// A message of the parser without the value that it is about: between the outermost quotes, or a long name between
/// backticks.
pub(super) fn without_values(message: &str) -> String {
    let message = match (message.split_once('"'), message.rsplit_once('"')) {
        (Some((before, _)), Some((_, after))) => format!("{before}…{after}"),
        _ => message.to_owned(),
    };
    let parts: Vec<_> = message.split('`').map(shown_part).collect();
    parts.join("`")
}

/// The words between names are long as well, and have spaces.
fn shown_part(part: &str) -> &str {
    if part.contains(' ') {
        part
    } else {
        shown(part)
    }
}
