//! The log of a process: lines on standard error, in JSON or as text, shared by both binaries.
//!
//! Logging never blocks. Lines pass through an [`Output`] that is bounded in bytes. Lines that do not fit are
//! dropped, counted, and reported in the log.

mod format;
mod output;

use std::backtrace::Backtrace;
use std::io;
use std::time::{Duration, SystemTime};

use log::{Level, LevelFilter};

pub use format::LogFormat;
pub use output::Output;

/// How long [`Log::finish`] waits for the last lines to be written.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Options for [`init`].
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The format of the lines.
    pub format: LogFormat,
    /// The maximum number of bytes that lines may occupy in memory before they are written.
    pub queue_bytes: usize,
    /// Levels of modules that are too noisy by default. `filters` overrides them.
    pub quiet: &'a [(&'a str, LevelFilter)],
    /// Modules whose lines below `info` contain confidential data. No filter enables these lines.
    pub confidential: &'static [&'static str],
    /// The value of `RUST_LOG`: a level, or `target=level` items separated by commas.
    pub filters: &'a str,
}

/// The log of the process.
#[derive(Clone)]
pub struct Log(Output);

/// The panics that end the process. The log is flushed before the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FatalPanics {
    /// A panic of any thread, as with `panic = "abort"`.
    AnyThread,
    /// Only a panic of the main thread.
    MainThread,
}

/// Sends all log records of the process to standard error.
///
/// # Errors
/// When the thread that writes cannot be started.
///
/// # Panics
/// When a logger is already set.
pub fn init(options: Options<'_>) -> io::Result<Log> {
    let (format, notice): (format::Format, fn(u64) -> Vec<u8>) = match options.format {
        LogFormat::Json => (format::write_json, |dropped| {
            format::dropped_notice(format::write_json, dropped)
        }),
        LogFormat::Text => (format::write_text, |dropped| {
            format::dropped_notice(format::write_text, dropped)
        }),
    };
    let output = Output::start(io::stderr(), options.queue_bytes, notice)?;
    let mut builder = env_logger::Builder::new();
    for (module, level) in options.quiet {
        builder.filter_module(module, *level);
    }
    let confidential = options.confidential;
    builder
        .parse_filters(options.filters)
        .target(env_logger::Target::Pipe(Box::new(output.clone())))
        .format(move |out, record| {
            if record.level() > Level::Info && is_in(record.target(), confidential) {
                return Ok(());
            }
            format(out, SystemTime::now(), record)
        })
        .init();
    Ok(Log(output))
}

/// Whether the target is one of the modules, or inside one.
fn is_in(target: &str, modules: &[&str]) -> bool {
    modules.iter().any(|module| {
        target
            .strip_prefix(module)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })
}

impl Log {
    /// Calls `counter` with the number of lines dropped so far, and again for each line dropped later.
    /// `counter` runs under a lock and must not log.
    pub fn count_dropped(&self, counter: impl Fn(u64) + Send + 'static) {
        self.0.count_with(counter);
    }

    /// Waits up to one second until all lines are written. Call it before the process ends.
    pub fn finish(&self) {
        self.0.flush(FINISH_TIMEOUT);
    }

    /// Calls `on_panic` for each panic and logs the panic under `target` as one line, instead of the
    /// many lines that the default hook prints to standard error.
    pub fn catch_panics(
        &self,
        target: &'static str,
        fatal: FatalPanics,
        on_panic: impl Fn() + Send + Sync + 'static,
    ) {
        let log = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            on_panic();
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("unnamed");
            log::error!(
                target: target,
                location = panic.location().map(ToString::to_string).unwrap_or_default().as_str(),
                thread = name,
                backtrace = Backtrace::force_capture().to_string().as_str();
                "panic: {}", panic.payload_as_str().unwrap_or("no message")
            );
            if fatal == FatalPanics::AnyThread || name == "main" {
                log.finish();
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::is_in;

    #[test]
    fn a_target_is_in_a_module_if_its_path_begins_with_that_of_the_module() {
        let modules = ["tokio_postgres", "a::b"];
        for (target, expected) in [
            ("tokio_postgres", true),
            ("tokio_postgres::query", true),
            ("tokio_postgres_rustls", false),
            ("a::b::c", true),
            ("a", false),
        ] {
            assert_eq!(is_in(target, &modules), expected, "{target}");
        }
    }
}
