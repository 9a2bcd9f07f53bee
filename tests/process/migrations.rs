//! Migrations by the service and by the `diesel` command, which `make tools` installs.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::binary::{command, kill, migrate, run_on, stderr};
use crate::support::database::Database;
use crate::support::server::Server;

crate::on_both!(
    reverting_and_applying_all_migrations_leaves_the_same_schema,
    eight_concurrent_processes_apply_each_migration_once,
    the_diesel_command_and_the_service_make_the_same_schema,
    the_database_of_an_unreleased_build_is_rejected,
);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The directory of migrations for a database.
fn migrations(database: &Database) -> &'static str {
    if database.is_postgres() {
        "migrations/postgres"
    } else {
        "migrations/sqlite"
    }
}

/// Runs the `diesel` command on a database.
fn diesel(database: &Database, args: &[&str]) -> Output {
    let cli = root().join("target/tools/bin/diesel");
    assert!(cli.exists(), "no {}: run `make tools`", cli.display());
    let url = database.url();
    let plain = url.strip_prefix("sqlite://").unwrap_or(&url);
    // With the configuration of the repository it would write schema.rs.
    let config = tempfile::NamedTempFile::new().unwrap();
    let print = "[print_schema]\nsqlite_integer_primary_key_is_bigint = true\nfilter = { except_tables = [\"events_.*\"] }\n";
    std::fs::write(&config, print).unwrap();
    let out = Command::new(cli)
        .env("DIESEL_CONFIG_FILE", config.path())
        .args(args)
        .current_dir(root())
        .env("DATABASE_URL", plain)
        .output()
        .unwrap();
    assert!(out.status.success(), "{args:?}: {out:?}");
    out
}

/// The whole schema as text.
fn dump(database: &Database) -> String {
    let url = database.url();
    let out = match url.strip_prefix("sqlite://") {
        Some(file) => Command::new("sqlite3")
            .args([file, ".schema --indent"])
            .output()
            .unwrap(),
        // `restrict` lines carry a random key.
        None => Command::new("sh")
            .args([
                "-c",
                "pg_dump --schema-only \"$0\" | grep -vE '^.(un)?restrict '",
                &url,
            ])
            .output()
            .unwrap(),
    };
    let text = String::from_utf8(out.stdout).unwrap();
    // SQLite has this table of its own for AUTOINCREMENT columns.
    let text = text.replace("CREATE TABLE sqlite_sequence(name,seq);\n", "");
    assert!(text.contains("orders"), "{text} {:?}", out.stderr);
    text
}

async fn reverting_and_applying_all_migrations_leaves_the_same_schema(database: Database) {
    migrate(&database);
    let first = dump(&database);
    let dir = migrations(&database);
    diesel(
        &database,
        &["migration", "--migration-dir", dir, "revert", "--all"],
    );
    let tables = if database.is_postgres() {
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename !~ 'diesel'"
    } else {
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%diesel%'
            AND name NOT LIKE 'sqlite_%'"
    };
    assert_eq!(database.number(tables).await, 0);
    migrate(&database);
    assert_eq!(dump(&database), first);
}

async fn eight_concurrent_processes_apply_each_migration_once(database: Database) {
    let files = std::fs::read_dir(root().join(migrations(&database)))
        .unwrap()
        .count();
    let rounds = 20;
    for round in 0..rounds {
        let fresh = if database.is_postgres() {
            Database::postgres().await
        } else {
            Database::sqlite()
        };
        let url = fresh.url();
        let running: Vec<_> = (0..8)
            .map(|_| {
                command(&["migrate"], &[("DATABASE_URL", &url)])
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for process in running {
            let out = process.wait_with_output().unwrap();
            assert!(out.status.success(), "round {round}: {out:?}");
        }
        let applied = fresh
            .number("SELECT count(*) FROM __diesel_schema_migrations")
            .await;
        assert_eq!(usize::try_from(applied).unwrap(), files);
    }
}

async fn the_diesel_command_and_the_service_make_the_same_schema(database: Database) {
    let dir = migrations(&database);
    diesel(&database, &["migration", "--migration-dir", dir, "run"]);
    let by_diesel = dump(&database);
    let url = database.url();
    assert!(run_on(&url, &["migrate", "--check"]).status.success());
    let out = run_on(&url, &["migrate"]);
    assert!(
        String::from_utf8(out.stdout)
            .unwrap()
            .contains("nothing to do")
    );

    let other = if database.is_postgres() {
        Database::postgres().await
    } else {
        Database::sqlite()
    };
    migrate(&other);
    let out = diesel(&other, &["migration", "--migration-dir", dir, "pending"]);
    assert_eq!(String::from_utf8(out.stdout).unwrap().trim(), "false");
    assert_eq!(dump(&other), by_diesel);

    let file = if database.is_postgres() {
        "src/store/schema.rs"
    } else {
        "src/store/sqlite/schema.rs"
    };
    let printed = diesel(&other, &["print-schema"]);
    let committed = std::fs::read_to_string(root().join(file)).unwrap();
    assert_eq!(
        String::from_utf8(printed.stdout).unwrap(),
        committed,
        "{file} is not what diesel prints"
    );
}

#[tokio::test]
async fn a_migration_that_waits_for_a_lock_fails_at_the_lock_timeout() {
    let database = Database::postgres().await;
    let url = database.url();
    let lock = database.client().await;
    let unfinished = "BEGIN; CREATE TABLE orders (id int)";
    lock.batch_execute(unfinished).await.unwrap();
    let start = Instant::now();
    let out = run_on(&url, &["migrate"]);
    assert_eq!(out.status.code(), Some(1));
    let text = stderr(&out);
    assert!(text.contains("lock timeout"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(5));
    lock.batch_execute("ROLLBACK").await.unwrap();
    migrate(&database);
    Server::start(&database, &[]).await.create("migrated").await;
}

/// What an unreleased build left in its database.
const UNRELEASED: &str = "
    CREATE TABLE __diesel_schema_migrations
        (version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
    INSERT INTO __diesel_schema_migrations (version) VALUES ('20261122000001');
    CREATE TABLE orders (id INT);";

async fn the_database_of_an_unreleased_build_is_rejected(database: Database) {
    database.execute(UNRELEASED).await;
    let url = database.url();
    for args in [&["migrate"][..], &["migrate", "--check"]] {
        let out = run_on(&url, args);
        assert_eq!(out.status.code(), Some(1));
        let text = stderr(&out);
        assert!(
            text.contains("an unreleased build of order-service made"),
            "{text}"
        );
    }
    let server = Server::start(&database, &[("MIGRATE_ON_START", "false")]).await;
    let rejected: serde_json::Value = server.get("/readyz").await.json();
    assert_eq!(rejected["reason"], "schema_unreleased");
}

#[test]
fn migrate_fails_in_time_when_the_server_sends_nothing() {
    // The kernel accepts connections into the backlog, and no process reads from them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://x@{}/x", silent.local_addr().unwrap());
    // This timeout is longer than that of one attempt of the command.
    let slow = format!("{url}?connect_timeout=10");
    for (url, args) in [
        (&url, &["migrate"][..]),
        (&url, &["migrate", "--check"]),
        (&url, &["migrate", "--wait", "1s"]),
        (&slow, &["migrate"]),
    ] {
        let start = Instant::now();
        assert_eq!(run_on(url, args).status.code(), Some(3), "{url} {args:?}");
        assert!(start.elapsed() < Duration::from_secs(15));
    }
}

#[tokio::test]
async fn a_statement_of_a_migration_ends_soon_after_its_process() {
    let database = Database::postgres().await;
    // The first CREATE TABLE waits as long as a large index may take.
    let client = database.client().await;
    client
        .batch_execute(
            "CREATE FUNCTION pause() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(300); END';
             CREATE EVENT TRIGGER pause ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION pause()",
        )
        .await
        .unwrap();
    let sessions = async || -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
        client.query_one(sql, &[]).await.unwrap().get(0)
    };
    let until = async |expected: i64| {
        let start = Instant::now();
        while sessions().await != expected {
            assert!(start.elapsed() < Duration::from_secs(20), "{expected}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let url = database.url();
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let mut process = command(&["migrate"], &[("DATABASE_URL", &url)])
            .spawn()
            .unwrap();
        until(1).await;
        kill(i32::try_from(process.id()).unwrap(), signal);
        process.wait().unwrap();
        until(0).await;
    }
}

#[tokio::test]
async fn sigterm_ends_a_process_that_waits_for_another_migration() {
    let database = Database::postgres().await;
    let lock = database.client().await;
    lock.batch_execute("SELECT pg_advisory_lock(31369497939178289)")
        .await
        .unwrap();
    let url = database.url();
    for (args, code) in [
        (&[][..], Some(0)),
        (&["migrate"], Some(128 + libc::SIGTERM)),
    ] {
        let variables = [("DATABASE_URL", url.as_str()), ("MIGRATE_ON_START", "true")];
        let mut process = command(args, &variables).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(
            process.try_wait().unwrap().is_none(),
            "it waits for the lock"
        );
        kill(i32::try_from(process.id()).unwrap(), libc::SIGTERM);
        let start = Instant::now();
        assert_eq!(process.wait().unwrap().code(), code);
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}
