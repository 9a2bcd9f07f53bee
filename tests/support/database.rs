//! A fresh database for each test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// A database of one test; gone when dropped.
pub enum Database {
    Sqlite(TempDir),
    Postgres { admin: String, name: String },
}

/// The URL of the cluster that the tests share. `make test` starts one.
pub fn shared_cluster() -> String {
    std::env::var("TEST_DATABASE_URL").expect(
        "TEST_DATABASE_URL names no PostgreSQL: run `make test`, or \
         `scripts/postgres.sh with cargo test`",
    )
}

impl Database {
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub async fn postgres() -> Self {
        Self::postgres_in(shared_cluster()).await
    }

    /// A new database in the cluster with this URL.
    pub async fn postgres_in(admin: String) -> Self {
        Self::postgres_named(admin, format!("t{}", Uuid::new_v4().simple())).await
    }

    /// A new database of this name.
    pub async fn postgres_named(admin: String, name: String) -> Self {
        connect(&admin)
            .await
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        Self::Postgres { admin, name }
    }

    /// The same database in a copy of its cluster.
    pub fn same_in(&self, cluster: &Cluster) -> Self {
        let Self::Postgres { name, .. } = self else {
            panic!("a file is in no cluster");
        };
        Self::Postgres {
            admin: cluster.url.clone(),
            name: name.clone(),
        }
    }

    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(dir) => format!("sqlite://{}", dir.path().join("orders.db").display()),
            Self::Postgres { admin, name } => {
                let (cluster, _) = admin.rsplit_once('/').unwrap();
                format!("{cluster}/{name}")
            }
        }
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// A connection of the test's own to this PostgreSQL database.
    pub async fn client(&self) -> Client {
        connect(&self.url()).await
    }

    /// Runs SQL that returns nothing.
    pub async fn execute(&self, sql: &str) {
        match self {
            Self::Postgres { .. } => self.client().await.batch_execute(sql).await.unwrap(),
            Self::Sqlite(dir) => {
                let out = sqlite3(dir, sql);
                assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
            }
        }
    }

    /// What the database says against SQL, if anything.
    pub async fn objection(&self, sql: &str) -> Option<String> {
        match self {
            Self::Postgres { .. } => {
                let error = self.client().await.batch_execute(sql).await.err()?;
                Some(error.as_db_error().unwrap().message().to_owned())
            }
            Self::Sqlite(dir) => {
                let out = sqlite3(dir, sql);
                (!out.status.success()).then(|| String::from_utf8_lossy(&out.stderr).into_owned())
            }
        }
    }

    /// One number from the database, by SQL that both understand.
    pub async fn number(&self, sql: &str) -> i64 {
        match self {
            Self::Postgres { .. } => self
                .client()
                .await
                .query_one(sql, &[])
                .await
                .unwrap()
                .get(0),
            Self::Sqlite(dir) => {
                let out = sqlite3(dir, sql);
                let text = String::from_utf8(out.stdout).unwrap();
                text.trim()
                    .parse()
                    .unwrap_or_else(|_| panic!("{sql}: {text} {:?}", out.stderr))
            }
        }
    }
}

/// What SQLite's own shell makes of SQL.
fn sqlite3(dir: &TempDir, sql: &str) -> Output {
    let file = dir.path().join("orders.db");
    Command::new("sqlite3").arg(file).arg(sql).output().unwrap()
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Self::Postgres { admin, name } = self {
            // Not async: a destructor cannot wait.
            let _ = Command::new("psql")
                .args([
                    admin,
                    "-qc",
                    &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
                ])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A cluster of one test's own, for faults that would hurt the others.
pub struct Cluster {
    dir: TempDir,
    pub url: String,
}

impl Cluster {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with variables for the script and the server: `POSTGRES_CONF`, `LOCPATH`.
    pub fn start_with(variables: &[(&str, &str)]) -> Self {
        let dir = reachable_dir();
        let url = script_with(
            &["start", dir.path().join("pg").to_str().unwrap()],
            variables,
        );
        Self { dir, url }
    }

    /// A second server that follows this one.
    pub fn standby(&self) -> Self {
        let dir = reachable_dir();
        let (from, to) = (self.path(), dir.path().join("pg"));
        let url = script(&["standby", from.to_str().unwrap(), to.to_str().unwrap()]);
        Self { dir, url }
    }

    /// Makes a standby a server of its own.
    pub fn promote(&self) {
        script(&["promote", self.path().to_str().unwrap()]);
    }

    /// What the database server has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path().join("log")).unwrap()).into_owned()
    }

    /// The port of the server.
    pub fn port(&self) -> u16 {
        let (address, _) = self.url.rsplit_once('/').unwrap();
        address.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// The directory of its data.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("pg")
    }

    /// Ends the database server in order: a standby gets everything.
    pub fn shut_down(&self) {
        script(&["stop", self.path().to_str().unwrap(), "fast"]);
    }

    /// Ends the database server as a crash would.
    pub fn stop(&self) {
        script(&["stop", self.path().to_str().unwrap(), "immediate"]);
    }

    pub fn start_again(&self) {
        script(&["up", self.path().to_str().unwrap()]);
    }

    /// Sends a signal to every process of the server, such as SIGSTOP.
    pub fn signal(&self, signal: i32) {
        let file = std::fs::read_to_string(self.path().join("data/postmaster.pid")).unwrap();
        let postmaster: i32 = file.lines().next().unwrap().parse().unwrap();
        let children = Command::new("pgrep")
            .args(["-P", &postmaster.to_string()])
            .output()
            .unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        let postmaster = postmaster.to_string();
        for pid in children.lines().chain([postmaster.as_str()]) {
            // A worker of autovacuum may have ended since.
            let signal = format!("-{signal}");
            let _ = Command::new("kill").args([signal.as_str(), pid]).status();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.path().join("data/postmaster.pid").exists() {
            self.signal(libc::SIGCONT);
        }
        let _ = Command::new(script_path())
            .args(["stop", self.path().to_str().unwrap(), "immediate"])
            .stderr(Stdio::null())
            .status();
    }
}

/// A directory for the user that runs PostgreSQL.
fn reachable_dir() -> TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    dir
}

fn script_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres.sh")
}

fn script(args: &[&str]) -> String {
    script_with(args, &[])
}

fn script_with(args: &[&str], variables: &[(&str, &str)]) -> String {
    // Inherited output would keep the pipe open as long as the server runs.
    let out = Command::new(script_path())
        .args(args)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(out.status.success(), "{args:?}: {out:?}");
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}
