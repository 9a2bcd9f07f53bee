//! Shows how far an import is: a bar on a terminal, otherwise a line in the log every few seconds.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::report::Report;

/// The time between two lines of the log.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

const BAR: &str = "{bar:30} {bytes}/{total_bytes}, {msg}, {eta} left";
const SPINNER: &str = "{spinner} {bytes}, {msg}, {elapsed}";

pub(super) struct Progress {
    /// Hidden unless standard error is a terminal.
    bar: ProgressBar,
    /// The size of the input, if it is known.
    total: Option<u64>,
    start: Instant,
    logged: Instant,
}

impl Progress {
    pub(super) fn start(total: Option<u64>) -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = if total.is_some() { BAR } else { SPINNER };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let now = Instant::now();
        Self {
            bar,
            total,
            start: now,
            logged: now,
        }
    }

    /// Shows the state after a chunk that ends at this byte of the input.
    pub(super) fn update(&mut self, report: &Report, position: u64) {
        let rate = self.rate(report);
        self.bar.set_position(position);
        self.bar.set_message(format!(
            "{} orders, {rate}/s",
            report.read - report.rejected
        ));
        if self.bar.is_hidden() && self.logged.elapsed() >= LOG_INTERVAL {
            self.logged = Instant::now();
            let Report {
                read,
                imported,
                already_present,
                rejected,
                ..
            } = *report;
            match self.remaining_seconds(position) {
                Some(remaining_seconds) => {
                    log::info!(read, imported, already_present, rejected, orders_per_second = rate,
                        remaining_seconds; "importing");
                }
                None => {
                    log::info!(read, imported, already_present, rejected, orders_per_second = rate; "importing");
                }
            }
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Orders per second since the start, without rejects.
    fn rate(&self, report: &Report) -> u64 {
        per_second(report.read - report.rejected, self.start.elapsed())
    }

    /// At the rate so far; `None` if the size of the input is not known.
    fn remaining_seconds(&self, position: u64) -> Option<u64> {
        let bytes_per_second = per_second(position, self.start.elapsed()).max(1);
        Some(self.total?.saturating_sub(position) / bytes_per_second)
    }
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    let millis = elapsed.as_millis().max(1);
    u64::try_from(u128::from(count) * 1_000 / millis).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_of_the_bar_are_valid() {
        for template in [BAR, SPINNER] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
        assert_eq!(per_second(3_000, Duration::from_millis(1_500)), 2_000);
        assert_eq!(per_second(1, Duration::ZERO), 1_000);
    }
}
