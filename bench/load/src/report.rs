//! Results of the requests.

use std::io::Result;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::connection::Response;

/// Counts responses as they arrive.
pub struct Report {
    duration: Duration,
    /// Latencies of responses below 400, in microseconds.
    latencies: Histogram<u64>,
    rejected: u64,
    rejected_without_retry_after: u64,
    failed: u64,
}

/// The numbers of a run.
#[derive(Serialize)]
pub struct Summary {
    /// Responses below 400.
    pub ok: u64,
    /// All responses, including the warm-up.
    pub responses: u64,
    /// Responses below 400 per second.
    pub ok_per_second: f64,
    /// Responses with 429 or 503.
    pub rejected: u64,
    /// Responses with 429 or 503, and without `Retry-After`.
    pub rejected_without_retry_after: u64,
    /// Other responses, and broken connections.
    pub failed: u64,
    /// Requests of an open loop that were due and not sent at its end.
    pub unsent_at_end: usize,
    /// Latencies of responses below 400, in milliseconds.
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Report {
    /// An empty report for a measurement of that duration.
    pub fn new(duration: Duration) -> Self {
        Self {
            duration,
            latencies: Histogram::new_with_bounds(1, 60_000_000, 3).expect("valid bounds"),
            rejected: 0,
            rejected_without_retry_after: 0,
            failed: 0,
        }
    }

    /// Counts a response and its latency.
    pub fn record(&mut self, response: &Result<Response>, latency: Duration) {
        match response {
            Ok(response) if response.status < 400 => {
                let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                self.latencies.saturating_record(micros.max(1));
            }
            Ok(response) if matches!(response.status, 429 | 503) => {
                self.rejected += 1;
                self.rejected_without_retry_after += u64::from(!response.retry_after);
            }
            _ => self.failed += 1,
        }
    }

    /// The numbers so far.
    pub fn summary(&self) -> Summary {
        let at = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1000.0;
        let ok = self.latencies.len();
        Summary {
            ok,
            responses: 0,
            ok_per_second: ok as f64 / self.duration.as_secs_f64().max(f64::MIN_POSITIVE),
            rejected: self.rejected,
            rejected_without_retry_after: self.rejected_without_retry_after,
            failed: self.failed,
            unsent_at_end: 0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        }
    }
}
