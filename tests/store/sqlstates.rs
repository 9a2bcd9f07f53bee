//! Errors of PostgreSQL are distinguished by their SQLSTATE.

use std::process::Command;
use std::time::Duration;

use order_service::domain::{Patch, Status};
use order_service::store::{MigrateOptions, Readiness, Store, StoreError, UpdateOutcome};

use super::contract::{caller, create, new_order, open_url, store, update};
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::eventually;

/// SQL for a trigger that raises an SQLSTATE at the first `times` writes to `orders`. A sequence counts the attempts,
/// because it keeps its value when a transaction is rolled back.
fn raise_sqlstate(code: &str, times: u32) -> String {
    format!(
        "CREATE SEQUENCE attempts;
         CREATE FUNCTION reject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('attempts') <= {times} THEN
                 RAISE EXCEPTION 'canceling statement due to nothing' USING ERRCODE = '{code}';
             END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER reject AFTER INSERT OR UPDATE ON orders
             FOR EACH STATEMENT EXECUTE FUNCTION reject();"
    )
}

/// Updates the status of an order to confirmed.
async fn confirm(store: &Store, id: uuid::Uuid) -> Result<UpdateOutcome, StoreError> {
    let patch = Patch {
        status: Some(Status::Confirmed),
        ..Patch::default()
    };
    store.update(update(id, patch)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_the_server_rolled_back_is_retried_a_bounded_number_of_times() {
    for code in ["40001", "40P01"] {
        let database = Database::postgres().await;
        let store = store(&database, &[]).await;
        let order = create(&store, new_order("a")).await;
        database.execute(&raise_sqlstate(code, 2)).await;
        create(&store, new_order("b")).await;
        database.execute("ALTER SEQUENCE attempts RESTART").await;
        let changed = confirm(&store, order.id).await.unwrap();
        assert!(matches!(changed, UpdateOutcome::Current(_)), "{changed:?}");
        // The number of retries is limited.
        database.execute("ALTER SEQUENCE attempts RESTART").await;
        let rejecting = "CREATE OR REPLACE FUNCTION reject() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM nextval('attempts'); RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$";
        database.execute(rejecting).await;
        let error = store.create(new_order("c")).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        let tries = database.number("SELECT last_value FROM attempts").await;
        assert_eq!(tries, 4);
    }
}

/// Two rows that each insert of orders updates, one after the other.
const TWO_ROWS: &str = "
    CREATE TABLE hot (id int PRIMARY KEY, n int NOT NULL);
    INSERT INTO hot VALUES (1, 0), (2, 0);
    CREATE FUNCTION touch_hot() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
        UPDATE hot SET n = n + 1 WHERE id = 1;
        UPDATE hot SET n = n + 1 WHERE id = 2;
        RETURN NULL; END';
    CREATE TRIGGER hot AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION touch_hot();";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_victim_of_a_deadlock_is_retried() {
    let database = Database::postgres().await;
    let store = store(&database, &[]).await;
    database.execute(TWO_ROWS).await;
    let other = database.client().await;
    // A session checks for a deadlock after it has waited for `deadlock_timeout`, so the session of the service
    // detects it first and is the victim.
    other
        .batch_execute("SET deadlock_timeout = '10s'; BEGIN; UPDATE hot SET n = 10 WHERE id = 2")
        .await
        .unwrap();
    let insert = tokio::spawn({
        let store = store.clone();
        async move { store.create(new_order("a")).await }
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("the insert waits", Duration::from_secs(3), async || {
        database.number(waiting).await == 1
    })
    .await;
    other
        .batch_execute("UPDATE hot SET n = n + 10 WHERE id = 1; COMMIT")
        .await
        .unwrap();
    insert.await.unwrap().unwrap();
    let sum = database.number("SELECT sum(n) FROM hot").await;
    assert_eq!(sum, 10 + 1 + 10 + 1, "both transactions are applied once");
    assert_eq!(database.count("orders").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sqlstate_is_reported_as_its_kind_of_error() {
    let database = Database::postgres().await;
    let store = store(&database, &["--statement-timeout", "500ms"]).await;
    let mut first = true;
    for (code, kind) in [
        ("53100", "unavailable"),
        ("53200", "unavailable"),
        ("58030", "unavailable"),
        ("08P01", "unavailable"),
        ("57P03", "unavailable"),
        ("25006", "unavailable"),
        ("42P01", "unavailable"),
        ("55P03", "lock_timeout"),
        ("57014", "statement_timeout"),
        ("23514", "internal"),
        ("XX001", "internal"),
    ] {
        if !std::mem::take(&mut first) {
            let undo =
                "DROP TRIGGER reject ON orders; DROP FUNCTION reject; DROP SEQUENCE attempts";
            database.execute(undo).await;
        }
        database.execute(&raise_sqlstate(code, 1_000_000)).await;
        let error = store.create(new_order("a")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{code}: {error}");
    }
    database.execute("DROP TRIGGER reject ON orders").await;
    create(&store, new_order("a")).await;
    // A real lock timeout.
    let name = database.name().to_owned();
    let admin = database.client().await;
    let set = format!("ALTER DATABASE {name} SET lock_timeout = '100ms'");
    admin.batch_execute(&set).await.unwrap();
    let (store, _) = open_url(&database.url(), &[]);
    admin
        .batch_execute("BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE")
        .await
        .unwrap();
    let error = store.create(new_order("a")).await.unwrap_err();
    assert_eq!(error, StoreError::LockTimeout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_isolation_level_does_not_depend_on_the_defaults_of_the_database() {
    let database = Database::postgres().await;
    let name = database.name().to_owned();
    let set = format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'");
    database.execute(&set).await;
    let store = store(&database, &[]).await;
    let checking = "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF current_setting('transaction_isolation') <> 'read committed' THEN
                RAISE EXCEPTION 'the isolation level is %', current_setting('transaction_isolation');
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER note AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION note();";
    database.execute(checking).await;
    create(&store, new_order("a")).await;
}

/// A pooler in transaction mode or an administrator may deallocate the prepared statements of a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_lost_its_prepared_statements_is_replaced() {
    let database = Database::postgres().await;
    let flags = ["--pool-max-size", "1", "--pool-min-idle", "1"];
    let store = store(&database, &flags).await;
    let order = create(&store, new_order("a")).await;
    // The session deallocates them within an update, before a statement that it has not prepared yet.
    let forgetting = "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN EXECUTE 'DEALLOCATE ALL'; RETURN NULL; END $$;
        CREATE TRIGGER forget AFTER UPDATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION forget();";
    database.execute(forgetting).await;
    confirm(&store, order.id).await.unwrap();
    create(&store, new_order("b")).await;
    assert!(store.get(&caller(), order.id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_utf8_is_rejected_with_its_encoding() {
    let database = Database::postgres().await;
    let name = database.name().to_owned();
    for encoding in ["SQL_ASCII", "LATIN1"] {
        let admin = database.client().await;
        let other = format!("{name}_{}", encoding.to_lowercase());
        let create = format!("CREATE DATABASE {other} ENCODING '{encoding}' TEMPLATE template0");
        admin.batch_execute(&create).await.unwrap();
        let url = database.url().replace(&name, &other);
        let (_, connector) = open_url(&url, &["--pool-min-idle", "0"]);
        let rejected = connector.migrate(MigrateOptions::default()).await;
        let rejected = rejected.unwrap_err().to_string();
        assert!(rejected.contains(encoding), "{rejected}");
        let drop = format!("DROP DATABASE {other} WITH (FORCE)");
        admin.batch_execute(&drop).await.unwrap();
    }
}

/// A cluster whose messages are German; `None` when `localedef` cannot make the locale.
fn german_cluster() -> Option<(tempfile::TempDir, Cluster)> {
    use std::os::unix::fs::PermissionsExt as _;
    let locales = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(locales.path(), open).unwrap();
    let made = Command::new("localedef")
        .args(["-i", "de_DE", "-f", "UTF-8"])
        .arg(locales.path().join("de_DE.UTF-8"))
        .output()
        .is_ok_and(|out| out.status.success());
    made.then(|| {
        let path = locales.path().to_str().unwrap();
        let cluster = Cluster::start_with(&[
            ("LOCPATH", path),
            ("POSTGRES_CONF", "lc_messages = 'de_DE.UTF-8'"),
        ]);
        (locales, cluster)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_recognised_whatever_the_language_of_the_server() {
    let Some((_locales, cluster)) = german_cluster() else {
        eprintln!("skipped: localedef cannot make de_DE.UTF-8 here");
        return;
    };
    let database = cluster.database().await;
    let holder = database.client().await;
    let error = holder.batch_execute("SELECT 1/0").await.unwrap_err();
    let message = error.as_db_error().unwrap().message().to_owned();
    // Some releases of Debian have the translations in another package.
    if !message.contains("durch Null") {
        eprintln!("skipped: the server has no German messages: {message}");
        return;
    }
    let store = store(&database, &["--statement-timeout", "500ms"]).await;
    let order = create(&store, new_order("a")).await;
    holder
        .batch_execute("BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE")
        .await
        .unwrap();
    let late = store.create(new_order("a")).await.unwrap_err();
    assert_eq!(late, StoreError::StatementTimeout);
    holder.batch_execute("ROLLBACK").await.unwrap();
    // A prepared statement that a migration invalidates.
    store.get(&caller(), order.id).await.unwrap();
    database
        .execute("ALTER TABLE orders ALTER COLUMN json_bytes TYPE bigint")
        .await;
    database
        .execute("ALTER TABLE orders ALTER COLUMN json_bytes TYPE integer")
        .await;
    store.get(&caller(), order.id).await.unwrap();
    // Sessions that an administrator terminates.
    database
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'order-service'",
        )
        .await;
    create(&store, new_order("b")).await;
    assert_eq!(store.readiness().await, Readiness::Ready);
}
