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
            write!(self.0, " {key}={value}").map_err(Error::from)
        }
    }
    let timestamp = humantime::format_rfc3339_millis(not_before_1970(now));
    let (level, target, message) = (record.level(), record.target(), record.args());
    let mut line = format!("{timestamp} {level:5} {target}: {message}");
    record
        .key_values()
        .visit(&mut Fields(&mut line))
        .map_err(io::Error::other)?;
    line.push('\n');
    out.write_all(line.as_bytes())
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
            "1970-01-12T13:46:40.123Z WARN  t: two\nlines status=503 quoted=a \"b\"\nc msg=mine\n"
        );
    }

    #[test]
    fn a_clock_before_1970_is_written_as_1970() {
        let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        let line = formatted(write_json, early);
        assert!(line.contains("1970-01-01T00:00:00.000000Z"), "{line}");
    }
}
