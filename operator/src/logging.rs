//! Log lines on standard error, in the form of the service's: one JSON object each, or text for a
//! person at a terminal. The service itself is no dependency: it would bring a database and a web
//! server along.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use jiff::Timestamp;
use log::Record;
use log::kv::{Error, Key, Value, VisitSource};
use order_logging::Output;
use serde::ser::{SerializeMap as _, Serializer as _};

use crate::cli::{LogFormat, Settings};
use crate::metrics::Metrics;

/// The most that lines may take that are not written yet, in bytes.
const QUEUE_BYTES: usize = 256 << 10;

/// How long the end of the process waits for somebody to read the last lines.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The log of the process.
#[derive(Clone)]
pub struct Log(Output);

/// Sends all log records of the process to standard error. Logging never blocks: what cannot be
/// written is dropped and counted.
///
/// # Errors
/// When the thread that writes cannot be started.
pub fn init(settings: &Settings) -> io::Result<Log> {
    let form = settings.log_format.unwrap_or_else(|| {
        if io::stderr().is_terminal() {
            LogFormat::Text
        } else {
            LogFormat::Json
        }
    });
    let (format, notice): (Format, fn(u64) -> Vec<u8>) = match form {
        LogFormat::Json => (write_json, |dropped| notice(write_json, dropped)),
        LogFormat::Text => (write_text, |dropped| notice(write_text, dropped)),
    };
    let output = Output::start(io::stderr(), QUEUE_BYTES, notice)?;
    env_logger::Builder::new()
        // A line for each reconcile helps nobody, unless RUST_LOG names it.
        .filter_module("kube_runtime", log::LevelFilter::Warn)
        .filter_module("kube_client", log::LevelFilter::Warn)
        .parse_filters(&settings.rust_log)
        .target(env_logger::Target::Pipe(Box::new(output.clone())))
        .format(move |out, record| format(out, Timestamp::now(), record))
        .init();
    Ok(Log(output))
}

impl Log {
    /// Has dropped lines counted.
    pub fn count_dropped(&self, metrics: &Metrics) {
        let dropped = metrics.log_lines_dropped.clone();
        self.0.count_with(move |count| dropped.inc_by(count));
    }

    /// Waits a moment until what was logged is written. Call it at the end of the process.
    pub fn finish(&self) {
        self.0.flush(LAST_WORDS);
    }

    /// Logs each panic as one line, instead of many lines on standard error.
    pub fn catch_panics(&self) {
        let log = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            log::error!(
                target: "order_operator::panic",
                location = panic.location().map(ToString::to_string).unwrap_or_default().as_str(),
                backtrace = std::backtrace::Backtrace::force_capture().to_string().as_str();
                "panic: {}", panic.payload_as_str().unwrap_or("no message")
            );
            // The process ends with it: a panic aborts.
            log.finish();
        }));
    }
}

type Format = fn(&mut dyn Write, Timestamp, &Record<'_>) -> io::Result<()>;

/// The line that says how many lines are missing.
fn notice(format: Format, dropped: u64) -> Vec<u8> {
    let mut line = Vec::new();
    let fields = [("dropped", Value::from(dropped))];
    let record = Record::builder()
        .args(format_args!("log lines were dropped"))
        .level(log::Level::Warn)
        .target(module_path!())
        .key_values(&fields)
        .build();
    // Writing to memory does not fail, and a notice that does is not worth a panic.
    let _ = format(&mut line, Timestamp::now(), &record);
    line
}

/// The fields that every line has. A record's own field of such a name gets a `field_` before it.
const RESERVED: [&str; 4] = ["ts", "level", "target", "msg"];

fn write_json(out: &mut dyn Write, now: Timestamp, record: &Record<'_>) -> io::Result<()> {
    struct Fields<'a, M>(&'a mut M);
    impl<'kvs, M: serde::ser::SerializeMap> VisitSource<'kvs> for Fields<'_, M> {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            let key = key.as_str();
            let result = if RESERVED.contains(&key) {
                self.0.serialize_entry(&format!("field_{key}"), &value)
            } else {
                self.0.serialize_entry(key, &value)
            };
            result.map_err(|_| Error::msg("a field is not JSON"))
        }
    }
    // Built apart, so that the line goes out in one piece.
    let mut line = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("ts", &format!("{now:.6}"))?;
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

fn write_text(out: &mut dyn Write, now: Timestamp, record: &Record<'_>) -> io::Result<()> {
    struct Fields<'a>(&'a mut String);
    impl<'kvs> VisitSource<'kvs> for Fields<'_> {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            use std::fmt::Write as _;
            write!(self.0, " {key}={value}").map_err(Error::from)
        }
    }
    let (level, target, message) = (record.level(), record.target(), record.args());
    let mut line = format!("{now:.3} {level:5} {target}: {message}");
    record
        .key_values()
        .visit(&mut Fields(&mut line))
        .map_err(io::Error::other)?;
    line.push('\n');
    out.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_json_object_with_typed_fields() {
        let fields = [("count", Value::from(3)), ("msg", Value::from("mine"))];
        let mut out = Vec::new();
        let record = Record::builder()
            .args(format_args!("two\nlines"))
            .level(log::Level::Warn)
            .target("t")
            .key_values(&fields)
            .build();
        write_json(
            &mut out,
            Timestamp::from_microsecond(1_000_000_123_456).unwrap(),
            &record,
        )
        .unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"ts\":\"1970-01-12T13:46:40.123456Z\",\"level\":\"WARN\",\"target\":\"t\",\
             \"msg\":\"two\\nlines\",\"count\":3,\"field_msg\":\"mine\"}\n"
        );
    }
}
