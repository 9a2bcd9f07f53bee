//! A running service.

use std::fmt::Debug;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::auth_file::bearer;
use super::binary::{BINARY, command, kill};
use super::client::{Client, Response};
use super::database::Database;
use super::memory_limit::MemoryLimit;
use super::orders::order;

/// The lines of standard error that a failed test shows. Under load, there may be millions.
const SHOWN_LINES: usize = 1000;

/// A running service. It is killed on drop.
pub struct Server {
    child: Child,
    reader: Option<JoinHandle<()>>,
    lines: Arc<Mutex<Vec<String>>>,
    /// Keeps the database of [`Server::on_sqlite`] as long as the server runs.
    database: Option<Database>,
    memory_limit: Option<MemoryLimit>,
    /// `http://HOST:PORT` of the API.
    pub api: String,
    /// `http://HOST:PORT` of the metrics.
    pub metrics: String,
    pub client: Client,
}

/// What a process may use.
#[derive(Clone, Copy, Default)]
pub struct Limits {
    pub descriptors: Option<usize>,
    pub memory_mib: Option<usize>,
}

/// While it exists, standard error of the server is not read.
pub struct Unread<'a> {
    _lines: MutexGuard<'a, Vec<String>>,
}

impl Server {
    /// Starts the service on free ports and waits until it listens.
    pub async fn start(database: &Database, variables: &[(&str, &str)]) -> Self {
        let url = database.url();
        let mut all = vec![("DATABASE_URL", url.as_str()), ("MIGRATE_ON_START", "true")];
        all.extend(variables);
        Self::spawn(&all).await
    }

    /// Starts the service on a new SQLite database.
    pub async fn on_sqlite(variables: &[(&str, &str)]) -> Self {
        let database = Database::sqlite();
        let mut server = Self::start(&database, variables).await;
        server.database = Some(database);
        server
    }

    /// Starts the service with these variables alone. It listens on free ports unless they set addresses.
    pub async fn spawn(variables: &[(&str, &str)]) -> Self {
        let mut all = vec![
            ("BIND_ADDRESS", "127.0.0.1:0"),
            ("METRICS_ADDRESS", "127.0.0.1:0"),
            ("WORKERS", "2"),
        ];
        all.extend(variables);
        Self::run(command(&[], &all)).await
    }

    /// Starts the service on a new SQLite database with this limit of file descriptors.
    pub async fn with_descriptor_limit(limit: usize) -> Self {
        let database = Database::sqlite();
        let url = database.url();
        let variables = [
            ("DATABASE_URL", url.as_str()),
            ("BIND_ADDRESS", "127.0.0.1:0"),
            ("METRICS_ADDRESS", "127.0.0.1:0"),
        ];
        let limits = Limits {
            descriptors: Some(limit),
            ..Limits::default()
        };
        let mut server = Self::spawn_limited(limits, &variables).await;
        server.database = Some(database);
        server
    }

    /// Starts the service with these limits and these variables alone.
    pub async fn spawn_limited(limits: Limits, variables: &[(&str, &str)]) -> Self {
        let memory_limit = limits.memory_mib.and_then(MemoryLimit::new);
        let descriptors = limits.descriptors.map(|it| format!("ulimit -n {it}; "));
        let memory = memory_limit
            .as_ref()
            .map(|it| format!("echo $$ >{}; ", it.processes().display()));
        let script = [descriptors, memory].into_iter().flatten();
        let script = format!("set -e; {}exec {BINARY}", script.collect::<String>());
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .env_clear()
            .envs(variables.iter().copied());
        let mut server = Self::run(command).await;
        server.memory_limit = memory_limit;
        server
    }

    async fn run(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let reader = std::thread::spawn({
            let lines = Arc::clone(&lines);
            move || {
                for line in stderr.lines().map_while(Result::ok) {
                    lines.lock().unwrap().push(line);
                }
            }
        });
        let mut server = Self {
            child,
            reader: Some(reader),
            lines,
            database: None,
            memory_limit: None,
            api: String::new(),
            metrics: String::new(),
            client: Client::new(),
        };
        let start = Instant::now();
        let serving = loop {
            if let Some(line) = server
                .logs()
                .into_iter()
                .find(|line| line["msg"] == "serving")
            {
                break line;
            }
            let ended = server.child.try_wait().unwrap();
            assert!(
                ended.is_none() && start.elapsed() < Duration::from_secs(20),
                "did not start ({ended:?}): {:#?}",
                server.lines()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        server.api = format!("http://{}", serving["api"].as_str().unwrap());
        server.metrics = format!("http://{}", serving["metrics"].as_str().unwrap());
        server
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// The largest resident set size so far, in MiB.
    pub fn peak_memory_mib(&self) -> usize {
        self.memory_kib("VmHWM:") / 1024
    }

    /// Fails if the kernel has killed the process because it exceeded the limit of its memory. Returns whether there
    /// is a limit.
    pub fn expect_within_memory_limit(&self) -> bool {
        let kills = self.memory_limit.as_ref().map(MemoryLimit::kills);
        assert!(kills.is_none_or(|it| it == 0), "killed: {kills:?}");
        kills.is_some()
    }

    /// The resident set size, in KiB.
    pub fn resident_memory_kib(&self) -> usize {
        self.memory_kib("VmRSS:")
    }

    fn memory_kib(&self, field: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = value.unwrap().trim().trim_end_matches(" kB");
        kib.parse().unwrap()
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// Waits until the process has exited and its output is read.
    pub async fn wait_for_exit(&mut self, timeout: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                if let Some(reader) = self.reader.take() {
                    reader.join().unwrap();
                }
                return status;
            }
            assert!(
                start.elapsed() < timeout,
                "still runs after {timeout:?}: {:#?}",
                self.lines()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The lines on standard error so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Stops reading standard error until the returned value is dropped.
    pub fn stop_reading(&self) -> Unread<'_> {
        Unread {
            _lines: self.lines.lock().unwrap(),
        }
    }

    /// The log lines; panics when one is not JSON.
    pub fn logs(&self) -> Vec<Value> {
        self.lines()
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    /// The log lines of requests.
    pub fn access_log(&self) -> Vec<Value> {
        let mut logs = self.logs();
        logs.retain(|line| line["target"] == "order_service::access");
        logs
    }

    /// `HOST:PORT` of the API.
    pub fn address(&self) -> &str {
        self.api.strip_prefix("http://").unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.api)
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    /// Gets a path with a credential.
    pub async fn get_with(&self, credential: &str, path: &str) -> Response {
        let request = self.client.get(self.url(path));
        let request = request.header("authorization", bearer(credential));
        request.send().await.unwrap()
    }

    pub async fn status(&self, path: &str) -> u16 {
        self.get(path).await.status()
    }

    pub async fn post(&self, body: &Value) -> Response {
        let request = self.client.post(self.url("/api/v1/orders")).json(body);
        request.send().await.unwrap()
    }

    pub async fn post_with_key(&self, idempotency_key: &str, body: &Value) -> Response {
        let request = self.client.post(self.url("/api/v1/orders")).json(body);
        let request = request.header("idempotency-key", idempotency_key);
        request.send().await.unwrap()
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Response {
        let request = self.client.patch(self.url(path)).json(body);
        request.send().await.unwrap()
    }

    pub async fn delete(&self, path: &str) -> Response {
        self.client.delete(self.url(path)).send().await.unwrap()
    }

    /// Creates an order and returns it.
    pub async fn create(&self, product_id: &str) -> Value {
        let response = self.post(&order(product_id)).await;
        assert_eq!(response.status(), 201);
        response.json()
    }

    pub async fn scrape(&self) -> String {
        let url = format!("{}/metrics", self.metrics);
        self.client.get(url).send().await.unwrap().text()
    }

    /// The value of a series, which is named as in the scrape: `name` or `name{label="value"}`.
    pub async fn metric<T: FromStr<Err: Debug>>(&self, series: &str) -> T {
        metric(&self.scrape().await, series)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.lines();
            let skipped = lines.len().saturating_sub(SHOWN_LINES);
            let shown = lines[skipped..].join("\n");
            eprintln!("standard error of the server without the first {skipped} lines:\n{shown}");
        }
    }
}

/// The value of a series in a scrape.
pub fn metric<T: FromStr<Err: Debug>>(scrape: &str, series: &str) -> T {
    let value = scrape
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {series} in {scrape}"));
    value.trim().parse().unwrap()
}
