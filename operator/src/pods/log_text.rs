//! Texts for users from termination messages, which are usually the end of a log.

use serde_json::Value;

/// The maximum number of characters in the message of a condition.
pub(crate) const MAX_MESSAGE_CHARS: usize = 160;
/// How a program starts the line with the error that ended it.
const PROGRAM_PREFIX: &str = "order-service: ";

/// What the description of a container that ended contains before its exit code.
pub(super) const EXIT_CODE: &str = "exit code";
/// The number of characters that are kept of the end of a text whose cause comes last.
const CAUSE_CHARS: usize = 100;

/// Cuts a text to [`MAX_MESSAGE_CHARS`] characters and to one line. Of the error that ended a program, the middle is cut
/// out: the context comes first and the cause last.
pub(crate) fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let chars = line.chars().count();
    if chars <= MAX_MESSAGE_CHARS {
        return line;
    }
    let start = |count: usize| line.chars().take(count).collect::<String>();
    if !line.contains(EXIT_CODE) {
        return format!("{}…", start(MAX_MESSAGE_CHARS - 1).trim_end());
    }
    let start = start(MAX_MESSAGE_CHARS - CAUSE_CHARS - 3);
    let end: String = line.chars().skip(chars - CAUSE_CHARS).collect();
    // No parts of words, unless a word is very long.
    let start = start
        .rsplit_once(' ')
        .map_or(start.as_str(), |(start, _)| start);
    let end = end.split_once(' ').map_or(end.as_str(), |(_, end)| end);
    format!("{start} … {end}")
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

    #[test]
    fn the_cause_at_the_end_of_an_error_is_kept() {
        let context = "a link of the chain: ".repeat(9);
        let error = format!(
            "DatabaseUnreachable: {EXIT_CODE} 3: {context}invalid peer certificate: UnknownIssuer"
        );
        let cut = shorten(&error);
        assert!(cut.chars().count() <= MAX_MESSAGE_CHARS, "{cut}");
        assert!(
            cut.starts_with("DatabaseUnreachable: exit code 3: a link "),
            "{cut}"
        );
        assert!(
            cut.ends_with("chain: invalid peer certificate: UnknownIssuer"),
            "{cut}"
        );
        let word = shorten(&format!("{EXIT_CODE}{}", "é".repeat(200)));
        assert!(word.chars().count() <= MAX_MESSAGE_CHARS, "{word}");
        assert!(word.ends_with('é'), "{word}");
    }
}
