//! Standard output and standard error that are not read or cannot be written.

use std::fs::File;
use std::io::{Read as _, Write as _, pipe};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::binary::{command, kill, run, stderr};
use crate::support::client::Client;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::orders::order;
use crate::support::server::{Server, metric};

const TIMEOUT: Duration = Duration::from_secs(5);

/// A service whose standard error is not read. It therefore cannot report its addresses: the test chooses them.
struct UnreadService {
    child: Child,
    api: String,
    metrics: String,
    client: Client,
    _database: Database,
}

impl UnreadService {
    async fn start(filter: &str) -> Self {
        let (database, client) = (Database::sqlite(), Client::new());
        let free = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().to_string()
        };
        let (api, metrics, url) = (free(), free(), database.url());
        let variables = [
            ("DATABASE_URL", url.as_str()),
            ("BIND_ADDRESS", &api),
            ("METRICS_ADDRESS", &metrics),
            ("WORKERS", "2"),
            ("RUST_LOG", filter),
        ];
        let child = command(&[], &variables).stderr(Stdio::piped()).spawn();
        let service = Self {
            child: child.unwrap(),
            api,
            metrics,
            client,
            _database: database,
        };
        eventually("it listens", TIMEOUT, async || {
            TcpStream::connect(&service.api).is_ok() && TcpStream::connect(&service.metrics).is_ok()
        })
        .await;
        service
    }

    /// Sends requests that each write a log line.
    fn malformed_requests(&self, count: usize) {
        for _ in 0..count {
            let mut stream = TcpStream::connect(&self.api).unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            stream.write_all(b"\x01\x02\r\n\r").unwrap();
            // A response, or the end of the connection.
            let length = stream.read(&mut [0; 1000]).unwrap();
            assert!(length < 1000);
        }
    }

    /// The number of log lines that were dropped.
    async fn dropped_lines(&self) -> u64 {
        let url = format!("http://{}/metrics", self.metrics);
        let scrape = self.client.get(url).send().await.unwrap().text();
        metric(&scrape, "log_lines_dropped_total")
    }

    async fn expect_serves(&self) {
        let url = format!("http://{}/api/v1/orders", self.api);
        let response = self.client.post(url).json(&order("sku-1")).send().await;
        assert_eq!(response.unwrap().status(), 201);
    }

    /// Ends the service with SIGTERM. Returns its exit code and, if `read`, what it had written.
    async fn terminate(&mut self, read: bool) -> (Option<i32>, String) {
        kill(i32::try_from(self.child.id()).unwrap(), libc::SIGTERM);
        let mut stderr = self.child.stderr.take().unwrap();
        let reader = read.then(|| {
            std::thread::spawn(move || {
                let mut text = String::new();
                stderr.read_to_string(&mut text).unwrap();
                text
            })
        });
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < TIMEOUT, "SIGTERM did not end it");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let text = reader.map_or_else(String::new, |reader| reader.join().unwrap());
        (status.code(), text)
    }
}

impl Drop for UnreadService {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_log_does_not_block_the_service() {
    let mut service = UnreadService::start("trace").await;
    service.malformed_requests(400);
    service.expect_serves().await;
    // The pipe holds 64 KiB, and the queue of lines 1 MiB.
    let start = Instant::now();
    while service.dropped_lines().await == 0 {
        assert!(start.elapsed() < Duration::from_secs(60));
        service.malformed_requests(100);
    }
    service.expect_serves().await;
    let (code, _) = service.terminate(false).await;
    assert_eq!(code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_lines_are_counted_in_the_log() {
    let mut service = UnreadService::start("trace").await;
    while service.dropped_lines().await < 10 {
        service.malformed_requests(100);
    }
    let dropped = service.dropped_lines().await;
    let (code, text) = service.terminate(true).await;
    assert_eq!(code, Some(0));
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let logged = lines.iter().filter_map(|line| line["dropped"].as_u64());
    assert!(logged.sum::<u64>() >= dropped);
    // At this level, the runtime also logs its own end.
    let ours = |line: &&Value| {
        line["target"]
            .as_str()
            .unwrap()
            .starts_with("order_service")
    };
    assert_eq!(lines.iter().rfind(ours).unwrap()["msg"], "ended");
}

#[tokio::test]
async fn a_malformed_request_logs_no_error() {
    let server = Server::on_sqlite(&[]).await;
    let before = server.logs().len();
    for bytes in [
        b"\x01\x02\r\n\r".as_slice(),
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: nonsense\r\n\r\n",
        b"POST /api/v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{",
    ] {
        let address = server.address();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read(&mut [0; 1000]);
    }
    server.create("sku-1").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let logs = server.logs();
    let written: Vec<_> = logs.iter().skip(before).collect();
    assert!(
        written.iter().all(|line| line["level"] != "ERROR"),
        "{written:#?}"
    );
}

/// Calls `check` with the arguments and variables of each command that prints something.
async fn for_each_command_that_prints(mut check: impl FnMut(&[&str], &[(&str, &str)])) {
    let (database, server) = (Database::sqlite(), Server::on_sqlite(&[]).await);
    let (url, address) = (database.url(), server.address());
    let variables = [("DATABASE_URL", url.as_str()), ("BIND_ADDRESS", address)];
    for args in [
        ["openapi"].as_slice(),
        &["migrate"],
        &["migrate"],
        &["migrate", "--check"],
        &["healthcheck"],
    ] {
        check(args, &variables);
    }
}

#[tokio::test]
async fn commands_succeed_when_their_output_is_not_read() {
    for_each_command_that_prints(|args, variables| {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let out = command(args, variables).stdout(writer).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{args:?}: {out:?}");
        let text = stderr(&out);
        assert!(!text.contains("panic"), "{args:?}: {text}");
    })
    .await;
    for args in [["--help"], ["--version"]] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let out = command(&args, &[]).stdout(writer).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{args:?}: {out:?}");
        assert!(out.stderr.is_empty(), "{args:?}: {out:?}");
    }
}

#[tokio::test]
async fn commands_fail_when_their_output_cannot_be_written() {
    for_each_command_that_prints(|args, variables| {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let out = command(args, variables).stdout(full).output().unwrap();
        assert_eq!(out.status.code(), Some(1), "{args:?}: {out:?}");
        let text = stderr(&out);
        assert!(text.contains("standard output"), "{args:?}: {text}");
    })
    .await;
}

#[test]
fn a_failure_has_its_exit_code_when_standard_error_is_closed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "no database ".repeat(100)).unwrap();
    let no_database = format!("sqlite://{}", file.path().display());
    for (args, variables, code) in [
        (["healthcheck"], ("BIND_ADDRESS", "127.0.0.1:1"), 1),
        (
            ["migrate"],
            ("DATABASE_URL", "postgres://u@127.0.0.1:1/d"),
            3,
        ),
        (["serve"], ("DATABASE_URL", no_database.as_str()), 1),
        (["serve"], ("POOL_MAX_SIZE", "none"), 2),
    ] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let out = command(&args, &[variables]).stderr(writer).output();
        assert_eq!(out.unwrap().status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn empty_variables_count_as_unset() {
    let names = [
        "BIND_ADDRESS",
        "DATABASE_URL_FILE",
        "DRAIN_DELAY",
        "LOG_FORMAT",
        "MIGRATE_ON_START",
        "POOL_MAX_SIZE",
        "POOL_MIN_IDLE",
        "RUST_LOG",
        "STATEMENT_TIMEOUT",
        "WORKERS",
    ];
    let directory = tempfile::tempdir().unwrap();
    let mut variables: Vec<_> = names.iter().map(|name| (*name, "")).collect();
    let url = format!("sqlite://{}/o.db", directory.path().display());
    variables.push(("DATABASE_URL", &url));
    let out = run(&["migrate"], &variables);
    assert!(out.status.success(), "{out:?}");
    // The default is a file in the working directory.
    let out = command(&["migrate"], &[("DATABASE_URL", "")])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    assert!(directory.path().join("orders.db").exists());
}
