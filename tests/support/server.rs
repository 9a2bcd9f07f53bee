//! The real binary.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{Answer, Client};
use super::database::Database;

pub const BINARY: &str = env!("CARGO_BIN_EXE_order-service");

/// The binary with nothing of the test's own environment.
pub fn command(args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(args)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub fn run(args: &[&str], variables: &[(&str, &str)]) -> Output {
    command(args, variables).output().unwrap()
}

/// Applies the migrations to a database.
pub fn migrate(database: &Database) {
    let out = run(&["migrate"], &[("DATABASE_URL", &database.url())]);
    assert!(out.status.success(), "{out:?}");
}

/// A running service; killed when dropped.
pub struct Server {
    child: Child,
    reader: Option<JoinHandle<()>>,
    lines: Arc<Mutex<Vec<String>>>,
    /// Kept as long as the server runs.
    database: Option<Database>,
    /// `http://HOST:PORT` of the API.
    pub api: String,
    /// `http://HOST:PORT` of the metrics.
    pub metrics: String,
    pub client: Client,
}

impl Server {
    /// Starts the service on free ports and waits until it listens.
    pub async fn start(database: &Database, variables: &[(&str, &str)]) -> Self {
        let url = database.url();
        let mut all = vec![("DATABASE_URL", url.as_str()), ("MIGRATE_ON_START", "true")];
        all.extend(variables);
        Self::spawn(&all).await
    }

    /// Starts the service on an SQLite file of its own.
    pub async fn on_sqlite(variables: &[(&str, &str)]) -> Self {
        let database = Database::sqlite();
        let mut server = Self::start(&database, variables).await;
        server.database = Some(database);
        server
    }

    /// Starts the service with exactly these variables, and free ports unless they name some.
    pub async fn spawn(variables: &[(&str, &str)]) -> Self {
        let mut all = vec![
            ("BIND_ADDRESS", "127.0.0.1:0"),
            ("METRICS_ADDRESS", "127.0.0.1:0"),
            ("WORKERS", "2"),
        ];
        all.extend(variables);
        Self::run(command(&[], &all)).await
    }

    /// Starts the service on an SQLite file, with no more than so many file descriptors.
    pub async fn with_descriptors(most: usize) -> Self {
        let database = Database::sqlite();
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -n {most}; exec {BINARY}")])
            .env_clear()
            .env("DATABASE_URL", database.url())
            .env("BIND_ADDRESS", "127.0.0.1:0")
            .env("METRICS_ADDRESS", "127.0.0.1:0");
        let mut server = Self::run(command).await;
        server.database = Some(database);
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

    /// The largest resident set so far, in MiB.
    pub fn peak_mib(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: usize = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kib / 1024
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// Waits until the process has ended and its output is read.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                if let Some(reader) = self.reader.take() {
                    reader.join().unwrap();
                }
                return status;
            }
            assert!(
                start.elapsed() < limit,
                "still runs after {limit:?}: {:#?}",
                self.lines()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it wrote to standard error.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The log lines; panics when one is not JSON.
    pub fn logs(&self) -> Vec<Value> {
        self.lines()
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.api)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    pub async fn status(&self, path: &str) -> u16 {
        self.get(path).await.status()
    }

    pub async fn post(&self, body: &Value) -> Answer {
        let request = self.client.post(self.url("/api/v1/orders")).json(body);
        request.send().await.unwrap()
    }

    /// Places an order and returns it.
    pub async fn place(&self, product_id: &str) -> Value {
        let response = self.post(&order(product_id)).await;
        assert_eq!(response.status(), 201);
        response.json()
    }

    pub async fn scrape(&self) -> String {
        let url = format!("{}/metrics", self.metrics);
        self.client.get(url).send().await.unwrap().text()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server wrote:\n{}", self.lines().join("\n"));
        }
    }
}

/// The smallest order.
pub fn order(product_id: &str) -> Value {
    serde_json::json!({"product_id": product_id, "quantity": 1})
}

/// Sends a signal to one process.
pub fn kill(pid: i32, signal: i32) {
    let status = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// The problem in a response, after checking what every problem has.
pub fn problem(response: Answer) -> Value {
    let status = response.status();
    let header = |name: &str| {
        let value = response
            .headers()
            .get(name)
            .unwrap_or_else(|| panic!("{name} in {response:?}"));
        value.to_str().unwrap().to_owned()
    };
    assert_eq!(header("content-type"), "application/problem+json");
    let id = header("x-request-id");
    if status == 503 {
        assert!(header("retry-after").parse::<u32>().is_ok());
    }
    let path = response.url().path().to_owned();
    let problem: Value = response.json();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["request_id"], id.as_str());
    assert_eq!(problem["instance"], path.as_str());
    for member in ["type", "title", "detail"] {
        assert!(!problem[member].as_str().unwrap().is_empty(), "{problem}");
    }
    problem
}

/// The last part of a problem's type.
pub fn slug(problem: &Value) -> &str {
    let kind = problem["type"].as_str().unwrap();
    kind.strip_prefix("urn:problem:order-service:").unwrap()
}
