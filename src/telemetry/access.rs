//! The record of a request. The request is counted and timed when it ends, however it ends.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Uri;
use log::kv::Value;
use tokio::time::Instant;

use super::Metrics;
use super::metrics::RequestMetrics;
use crate::domain::Caller;

/// Requests that take longer than this are logged as warnings.
const SLOW: Duration = Duration::from_secs(1);
/// The status recorded for a request whose client closed the connection before the response. It is not an HTTP
/// status, but nginx uses it as well.
const CLIENT_CLOSED_REQUEST: u16 = 499;
/// The status of a request that exceeds a limit or a share of its caller (RFC 6585, section 4).
const TOO_MANY_REQUESTS: u16 = 429;

/// Opens access records. Each worker has its own, so that it needs no lock.
#[derive(Clone)]
pub struct Recorder(Rc<Shared>);

struct Shared {
    metrics: Arc<Metrics>,
    series: RefCell<HashMap<(&'static str, &'static str, u16), RequestMetrics>>,
}

impl Recorder {
    /// Creates a recorder for one worker.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self(Rc::new(Shared {
            metrics,
            series: RefCell::default(),
        }))
    }

    /// Opens the record of a request that has just arrived.
    pub fn open(
        &self,
        method: &'static str,
        route: &'static str,
        uri: Uri,
        request_id: Rc<str>,
        traceparent: Option<String>,
    ) -> AccessRecord {
        self.0.metrics.http_in_flight.inc();
        AccessRecord {
            shared: Rc::clone(&self.0),
            start: Instant::now(),
            end: None,
            method,
            route,
            uri,
            request_id,
            traceparent,
            caller: None,
            status: CLIENT_CLOSED_REQUEST,
        }
    }
}

/// One request. Recorded on drop, so that an aborted request is counted as well.
pub struct AccessRecord {
    shared: Rc<Shared>,
    start: Instant,
    /// When the response existed.
    end: Option<Instant>,
    method: &'static str,
    route: &'static str,
    uri: Uri,
    request_id: Rc<str>,
    traceparent: Option<String>,
    caller: Option<Arc<Caller>>,
    status: u16,
}

impl AccessRecord {
    /// Sets who makes the request. Without it, the request was rejected before that was verified, or its route is
    /// open.
    pub fn set_caller(&mut self, caller: Arc<Caller>) {
        self.caller = Some(caller);
    }

    /// Who makes the request, if it is known.
    pub fn caller(&self) -> Option<&Arc<Caller>> {
        self.caller.as_ref()
    }

    /// When the request arrived.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Ends the request, whose response exists now, and returns the time.
    pub fn end(&mut self) -> Instant {
        *self.end.get_or_insert_with(Instant::now)
    }

    /// Sets the status of the response.
    pub fn set_status(&mut self, status: u16) {
        self.status = status;
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        let took = self.end().duration_since(self.start);
        let metrics = &self.shared.metrics;
        metrics.http_in_flight.dec();
        let mut series = self.shared.series.borrow_mut();
        let request = series
            .entry((self.method, self.route, self.status))
            .or_insert_with(|| metrics.request(self.method, self.route, &self.status.to_string()));
        request.total.inc();
        if self.status == TOO_MANY_REQUESTS {
            metrics.rate_limited.inc();
        }
        request.duration.observe(took.as_secs_f64());

        let level = if self.status >= 500 || took > SLOW {
            log::Level::Warn
        } else {
            log::Level::Debug
        };
        self.log(level, took);
    }
}

impl AccessRecord {
    fn log(&self, level: log::Level, took: Duration) {
        let target = "order_service::access";
        if !log::log_enabled!(target: target, level) {
            return;
        }
        let traceparent = self.traceparent.as_deref();
        let caller = self.caller.as_deref();
        // Without credentials the id is empty. An id such as `anonymous` could be that of an API key.
        let principal = caller.map(|caller| &*caller.id).filter(|id| !id.is_empty());
        let tenant = caller.map(|caller| caller.tenant.as_str());
        let or_null = |text: Option<_>| text.map_or(Value::null(), Value::from);
        let mut fields = vec![
            ("request_id", Value::from(&*self.request_id)),
            ("method", Value::from(self.method)),
            ("path", Value::from(self.uri.path())),
            ("route", Value::from(self.route)),
            ("status", Value::from(self.status)),
            ("duration_seconds", Value::from(took.as_secs_f64())),
            ("principal", or_null(principal)),
            ("tenant", or_null(tenant)),
        ];
        fields.extend(traceparent.map(|trace| ("traceparent", Value::from(trace))));
        log::logger().log(
            &log::Record::builder()
                .args(format_args!("request finished"))
                .level(level)
                .target(target)
                .key_values(&fields)
                .build(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(metrics: &Metrics) -> String {
        String::from_utf8(
            metrics
                .render(super::super::PoolConnections::default(), &[])
                .unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn a_finished_and_a_dropped_request_are_both_counted() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let recorder = Recorder::new(Arc::clone(&metrics));
        let mut finished = recorder.open("GET", "/a", Uri::from_static("/a"), "1".into(), None);
        let dropped = recorder.open("GET", "/a", Uri::from_static("/a"), "2".into(), None);
        assert_eq!(metrics.http_in_flight.get(), 2);
        finished.set_status(200);
        drop(finished);
        drop(dropped);
        assert_eq!(metrics.http_in_flight.get(), 0);
        let text = scrape(&metrics);
        for status in ["200", "499"] {
            let line =
                format!("http_requests_total{{method=\"GET\",path=\"/a\",status=\"{status}\"}} 1");
            assert!(text.contains(&line), "{text}");
        }
        assert!(
            text.contains("http_request_duration_seconds_count{method=\"GET\",path=\"/a\"} 2"),
            "{text}"
        );
    }
}
