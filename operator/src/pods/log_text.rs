//! Texts for users from termination messages, which are usually the end of a log.

use serde_json::Value;

/// The maximum number of characters in the message of a condition.
pub(crate) const MAX_MESSAGE_CHARS: usize = 160;
/// How a program starts the line with the error that ended it.
const PROGRAM_PREFIX: &str = "order-service: ";

/// Cuts a text to [`MAX_MESSAGE_CHARS`] characters and to one line.
pub(crate) fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MAX_MESSAGE_CHARS {
        return line;
    }
    let start: String = line.chars().take(MAX_MESSAGE_CHARS - 1).collect();
    format!("{}…", start.trim_end())
}

/// Returns the error at the end of a log: the lines after the last log line, or the message of the last log line.
pub(super) fn last_error(log: &str) -> String {
    let lines = lines(log);
    let plain: Vec<_> = lines
        .iter()
        .rev()
        .take_while(|line| !line.is_log_line)
        .map(|line| line.text.as_str())
        .collect();
    let error = if plain.is_empty() {
        lines.last().map(|line| line.text.clone())
    } else {
        Some(plain.into_iter().rev().collect::<Vec<_>>().join(" "))
    };
    error.unwrap_or_default()
}

/// Returns a log without JSON: of each log line its message.
pub(super) fn readable(log: &str) -> String {
    let lines = lines(log).into_iter().map(|line| line.text);
    lines.collect::<Vec<_>>().join("; ")
}

struct Line {
    text: String,
    /// Whether it was JSON.
    is_log_line: bool,
}

fn lines(log: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for (index, line) in log.lines().enumerate() {
        let line = line.trim();
        match serde_json::from_str::<Value>(line) {
            Ok(Value::Object(fields)) => {
                let field = |name: &str| fields.get(name).and_then(Value::as_str);
                let text = match (field("msg"), field("error")) {
                    (Some(message), Some(error)) => format!("{message}: {error}"),
                    (Some(text), None) | (None, Some(text)) => text.to_owned(),
                    (None, None) => continue,
                };
                lines.push(Line {
                    text,
                    is_log_line: true,
                });
            }
            // The kubelet takes the last bytes of a log, so the first line may be the end of a log line.
            _ if line.is_empty() || (index == 0 && line.ends_with('}')) => {}
            _ => lines.push(Line {
                text: line.strip_prefix(PROGRAM_PREFIX).unwrap_or(line).to_owned(),
                is_log_line: false,
            }),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"evel":"INFO","msg":"cut off"}
{"ts":"2026-01-01T00:00:00Z","level":"INFO","target":"t","msg":"waiting for the database to respond","error":"refused"}
{"ts":"2026-01-01T00:00:00Z","level":"INFO","target":"t","msg":"applying migration","migration":"m"}
order-service: migration m: column "x" exists
"#;

    #[test]
    fn the_error_after_the_last_log_line_is_reported_without_json() {
        assert_eq!(last_error(LOG), r#"migration m: column "x" exists"#);
        assert_eq!(
            readable(LOG),
            "waiting for the database to respond: refused; applying migration; migration m: column \"x\" exists"
        );
    }

    #[test]
    fn without_a_plain_line_the_message_of_the_last_log_line_is_reported() {
        let log = r#"{"level":"ERROR","msg":"thread 'main' panicked at src/main.rs:1","backtrace":"0: a"}"#;
        assert_eq!(last_error(log), "thread 'main' panicked at src/main.rs:1");
        assert_eq!(last_error(""), "");
        assert_eq!(last_error("a\nb\n"), "a b");
    }

    #[test]
    fn a_text_is_cut_at_a_character() {
        assert_eq!(shorten("a\n  b"), "a b");
        let fits = "é".repeat(MAX_MESSAGE_CHARS);
        assert_eq!(shorten(&fits), fits);
        let cut = shorten(&format!("{fits}é"));
        assert_eq!(cut.chars().count(), MAX_MESSAGE_CHARS);
        assert!(cut.ends_with("é…"));
    }
}
