//! A new database for each test.

use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use super::cluster::Cluster;

/// A database of one test, removed on drop.
pub enum Database {
    Sqlite(TempDir),
    Postgres { admin: String, name: String },
}

/// The URL of the cluster that all tests share; `make test` starts it.
pub fn shared_cluster() -> String {
    std::env::var("TEST_DATABASE_URL").expect(
        "TEST_DATABASE_URL is not set: run `make test`, or \
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

    /// A new database with this name.
    pub async fn postgres_named(admin: String, name: String) -> Self {
        connect(&admin)
            .await
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        Self::Postgres { admin, name }
    }

    /// The database of the same name in a copy of its cluster.
    pub fn in_copy(&self, cluster: &Cluster) -> Self {
        Self::Postgres {
            admin: cluster.url.clone(),
            name: self.name().to_owned(),
        }
    }

    /// The name of this PostgreSQL database.
    pub fn name(&self) -> &str {
        match self {
            Self::Postgres { name, .. } => name,
            Self::Sqlite(_) => panic!("an SQLite database has no name"),
        }
    }

    /// The path of this SQLite database.
    pub fn file(&self) -> String {
        self.url().strip_prefix("sqlite://").unwrap().to_owned()
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

    /// Creates the file of an SQLite database, without a schema. A PostgreSQL database exists already.
    pub fn create_empty(&self) {
        if let Self::Sqlite(_) = self {
            std::fs::File::create_new(self.file()).unwrap();
        }
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// A connection to this PostgreSQL database that is not the service's.
    pub async fn client(&self) -> Client {
        connect(&self.url()).await
    }

    /// Runs SQL in a transaction on a connection of its own, and leaves the transaction open.
    pub async fn begin(&self, sql: &str) -> Client {
        let client = self.client().await;
        let begin = format!("BEGIN; {sql}");
        client.batch_execute(&begin).await.unwrap();
        client
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

    /// The error message of the database for this SQL; `None` when it succeeds.
    pub async fn error_of(&self, sql: &str) -> Option<String> {
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

    /// The number of rows of a table.
    pub async fn count(&self, table: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM {table}")).await
    }

    /// The one number that a query returns.
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

/// Runs SQL in the command-line shell of SQLite.
fn sqlite3(dir: &TempDir, sql: &str) -> Output {
    let file = dir.path().join("orders.db");
    Command::new("sqlite3").arg(file).arg(sql).output().unwrap()
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Self::Postgres { admin, name } = self {
            // `psql`, because a destructor cannot await.
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

/// A connection to PostgreSQL without TLS.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
