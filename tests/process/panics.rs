//! A panic is logged as one line with its backtrace, and counted.

use std::process::Command;
use std::sync::Arc;

use order_service::config::Cli;
use order_service::store::check_database_url;
use order_service::telemetry::{Metrics, PoolConnections, logging};
use serde_json::Value;

const CHILD: &str = "ORDER_SERVICE_TEST_PANICS";

/// The test below runs this one in a process of its own, because a panic hook applies to the whole process.
#[test]
fn child_process_that_panics() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let (_, settings) = Cli::read_from(
        ["order-service", "--log-format", "json"],
        check_database_url,
    )
    .unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let log = logging::init(settings.log_format(), &settings.rust_log).unwrap();
    log.catch_panics(Arc::clone(&metrics));
    let panicked = std::thread::Builder::new()
        .name("worker".to_owned())
        .spawn(|| panic!("planted\npanic"))
        .unwrap();
    assert!(panicked.join().is_err());
    let text = String::from_utf8(metrics.render(PoolConnections::default(), &[]).unwrap()).unwrap();
    assert!(text.contains("\npanics_total 1\n"), "{text}");
    log.finish();
}

#[test]
fn a_panic_is_logged_as_one_line_with_its_backtrace_and_counted() {
    let out = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "panics::child_process_that_panics",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    let text = String::from_utf8(out.stderr).unwrap();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("planted"))
        .collect();
    assert_eq!(lines.len(), 1, "{text}");
    let line: Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["msg"], "panic: planted\npanic");
    assert_eq!(line["thread"], "worker");
    assert!(line["location"].as_str().unwrap().contains("panics.rs"));
    assert!(
        line["backtrace"].as_str().unwrap().contains("panics"),
        "{line}"
    );
}
