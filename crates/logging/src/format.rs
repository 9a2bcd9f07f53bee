//! The format of a log line.

use std::io::{self, IsTerminal as _, Write};
use std::time::SystemTime;

use clap::ValueEnum;
use log::Record;
use log::kv::{Error, Key, Value, VisitSource};
use serde::ser::{SerializeMap as _, Serializer as _};

/// The format of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for a person at a terminal.
    Text,
}

impl LogFormat {
    /// Text if standard error is a terminal, otherwise JSON.
    pub fn of_stderr() -> Self {
        if io::stderr().is_terminal() {
            Self::Text
        } else {
            Self::Json
        }
    }
}

/// Writes one record as one line, in a single call of [`Write::write_all`].
pub(crate) type Format = fn(&mut dyn Write, SystemTime, &Record<'_>) -> io::Result<()>;

/// Formats the line that reports how many lines were dropped.
pub(crate) fn dropped_notice(format: Format, dropped: u64) -> Vec<u8> {
    let mut line = Vec::new();
    let fields = [("dropped", Value::from(dropped))];
    let record = Record::builder()
        .args(format_args!("log lines were dropped"))
        .level(log::Level::Warn)
        .target("order_logging")
        .key_values(&fields)
        .build();
    // Writing to a vector cannot fail.
    let _ = format(&mut line, SystemTime::now(), &record);
    line
}

/// The fields of every line. A field of a record with one of these names gets the prefix `field_`.
const RESERVED: [&str; 4] = ["ts", "level", "target", "msg"];

pub(crate) fn write_json(
    out: &mut dyn Write,
    now: SystemTime,
    record: &Record<'_>,
) -> io::Result<()> {
    struct Fields<'a, M>(&'a mut M);
    impl<'kvs, M: serde::ser::SerializeMap> VisitSource<'kvs> for Fields<'_, M> {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            let key = key.as_str();
            let result = if RESERVED.contains(&key) {
                self.0.serialize_entry(&format!("field_{key}"), &value)
            } else {
                self.0.serialize_entry(key, &value)
            };
            result.map_err(|_| Error::msg("a field cannot be written as JSON"))
        }
    }
    let mut line = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut map = serializer.serialize_map(None)?;
    let timestamp = humantime::format_rfc3339_micros(not_before_1970(now));
    map.serialize_entry("ts", &format_args!("{timestamp}"))?;
    map.serialize_entry("level", record.level().as_str())?;
    map.serialize_entry("target", record.target())?;
    map.serialize_entry("msg", &format_args!("{}", record.args()))?;
    record
        .key_values()
        .visit(&mut Fields(&mut map))
        .map_err(io::Error::other)?;
    map.end()?;
    line.push(b'\n');
    out.write_all(&line)
}

pub(crate) fn write_text(
    out: &mut dyn Write,
    now: SystemTime,
    record: &Record<'_>,
) -> io::Result<()> {
    struct Fields<'a>(&'a mut String);
    impl<'kvs> VisitSource<'kvs> for Fields<'_> {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            use std::fmt::Write as _;
            let value = value.to_string();
            if is_plain(&value) {
                write!(self.0, " {key}={value}").map_err(Error::from)
            } else {
                write!(self.0, " {key}={value:?}").map_err(Error::from)
            }
        }
    }
    let timestamp = humantime::format_rfc3339_millis(not_before_1970(now));
    let (level, target, message) = (record.level(), record.target(), record.args());
    let mut line = format!("{timestamp} {level:5} {target}: ");
    push_visible(&mut line, &message.to_string());
    record
        .key_values()
        .visit(&mut Fields(&mut line))
        .map_err(io::Error::other)?;
    line.push('\n');
    out.write_all(line.as_bytes())
}

/// Whether a value in text format needs no quotes. Clients choose some of the values, and one with a space or a quote
/// could look like several fields. Quoted values are written like string literals of Rust. That escapes controls, line
/// separators, and the format characters of Unicode, some of which are invisible or change the order of the text.
fn is_plain(value: &str) -> bool {
    !value.is_empty()
        && value
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'='))
}

/// Appends a text without quotes, and escapes what is not visible. A line break would begin a line that looks like
/// another record.
fn push_visible(line: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => line.push(character),
            _ => line.extend(character.escape_debug()),
        }
    }
}

/// humantime panics for times before 1970, which an incorrect clock can produce.
fn not_before_1970(now: SystemTime) -> SystemTime {
    now.max(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn formatted(format: Format, now: SystemTime) -> String {
        let fields = [
            ("status", Value::from(503)),
            ("quoted", Value::from("a \"b\"\nc")),
            ("msg", Value::from("mine")),
        ];
        let record = Record::builder()
            .args(format_args!("two\nlines"))
            .level(log::Level::Warn)
            .target("t")
            .key_values(&fields)
            .build();
        let mut out = Vec::new();
        format(&mut out, now, &record).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn instant() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(1_000_000_123_456)
    }

    #[test]
    fn a_record_is_one_json_object_with_typed_fields() {
        assert_eq!(
            formatted(write_json, instant()),
            "{\"ts\":\"1970-01-12T13:46:40.123456Z\",\"level\":\"WARN\",\"target\":\"t\",\
             \"msg\":\"two\\nlines\",\"status\":503,\"quoted\":\"a \\\"b\\\"\\nc\",\
             \"field_msg\":\"mine\"}\n"
        );
    }

    #[test]
    fn text_has_milliseconds_and_the_fields_after_the_message() {
        assert_eq!(
            formatted(write_text, instant()),
            "1970-01-12T13:46:40.123Z WARN  t: two\\nlines status=503 quoted=\"a \\\"b\\\"\\nc\" msg=mine\n"
        );
    }

    /// A line in text format with this message and this field.
    fn text_line(message: &str, value: &str) -> String {
        let fields = [("principal", Value::from(value))];
        let mut out = Vec::new();
        write_text(
            &mut out,
            instant(),
            &Record::builder()
                .args(format_args!("{message}"))
                .target("t")
                .key_values(&fields)
                .build(),
        )
        .unwrap();
        let line = String::from_utf8(out).unwrap();
        let (_, line) = line.split_once(" t: ").unwrap();
        line.to_owned()
    }

    #[test]
    fn a_value_in_text_format_cannot_look_like_another_field_or_hide_a_part() {
        for (value, written) in [
            ("https://a.example/|shop:1", "https://a.example/|shop:1"),
            ("", r#""""#),
            (r#"x" tenant="admin"#, r#""x\" tenant=\"admin""#),
            ("x tenant=admin", r#""x tenant=admin""#),
            ("tenant=admin", r#""tenant=admin""#),
            ("a\\", r#""a\\""#),
            ("a\u{2028}b", r#""a\u{2028}b""#),
            ("a\u{2029}b", r#""a\u{2029}b""#),
            ("a\u{202e}b", r#""a\u{202e}b""#),
            ("a\u{2066}b", r#""a\u{2066}b""#),
            ("a\u{200b}b", r#""a\u{200b}b""#),
            ("a\u{feff}b", r#""a\u{feff}b""#),
            ("a\u{a0}b", r#""a\u{a0}b""#),
            ("a\u{85}b", r#""a\u{85}b""#),
            ("a\u{1b}[2J\r\n", r#""a\u{1b}[2J\r\n""#),
            ("é", "\"é\""),
        ] {
            let line = text_line("m", value);
            assert_eq!(line, format!("m principal={written}\n"), "{value:?}");
        }
    }

    #[test]
    fn a_message_in_text_format_stays_in_its_line() {
        let line = text_line("can't \"a\\b\" é\n\u{2028}\u{202e}\u{200b}\u{1b}", "v");
        assert_eq!(
            line,
            "can't \"a\\b\" é\\n\\u{2028}\\u{202e}\\u{200b}\\u{1b} principal=v\n"
        );
    }

    #[test]
    fn a_clock_before_1970_is_written_as_1970() {
        let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        let line = formatted(write_json, early);
        assert!(line.contains("1970-01-01T00:00:00.000000Z"), "{line}");
    }
}
