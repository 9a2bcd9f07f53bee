//! Text in columns of a terminal. Pure functions.

use console::measure_text_width;
use jiff::Timestamp;

/// Fills a text with spaces up to this many columns.
pub(super) fn pad(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(measure_text_width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// Makes one line of printable characters: messages may contain text of a database or of a log, and control
/// characters would be commands for the terminal.
pub(super) fn printable(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// Splits a text into lines of at most this many columns, between words if possible.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        for (index, part) in split(word, columns.max(1)).into_iter().enumerate() {
            let Some(line) = lines.last_mut() else {
                continue;
            };
            let used = measure_text_width(line);
            if line.is_empty() {
                line.push_str(&part);
            } else if index == 0 && used + 1 + measure_text_width(&part) <= columns {
                line.push(' ');
                line.push_str(&part);
            } else {
                lines.push(part);
            }
        }
    }
    lines
}

/// Splits a word that is wider than a line.
fn split(word: &str, columns: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut used = 0;
    for c in word.chars() {
        let wide = measure_text_width(c.encode_utf8(&mut [0; 4]));
        if used + wide > columns && used > 0 {
            parts.push(String::new());
            used = 0;
        }
        used += wide;
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

/// Cuts a text to this many columns.
pub(super) fn cut(text: &str, columns: usize) -> String {
    split(text, columns.max(1))
        .into_iter()
        .next()
        .unwrap_or_default()
}

/// The time since `start` in its largest unit, as kubectl shows ages.
pub(super) fn age(start: Option<Timestamp>, now: Timestamp) -> String {
    let Some(start) = start else {
        return String::new();
    };
    let seconds = now.duration_since(start).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Adds a line without trailing spaces.
pub(super) fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}
