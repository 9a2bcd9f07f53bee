//! Errors of PostgreSQL are told apart by their SQLSTATE.

use std::process::Command;
use std::time::Duration;

use order_service::domain::{Patch, Status};
use order_service::store::{
    Changed, Changing, IfMatch, MigrateOptions, Readiness, Store, StoreError,
};

use super::contract::{new_order, open_url, place, store};
use crate::support::database::{Cluster, Database};
use crate::support::eventually;

/// Raises an SQLSTATE at the first `times` writes to `orders`. A sequence counts what is undone, too.
fn raising(code: &str, times: u32) -> String {
    format!(
        "CREATE SEQUENCE attempts;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('attempts') <= {times} THEN
                 RAISE EXCEPTION 'canceling statement due to nothing' USING ERRCODE = '{code}';
             END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER refuse AFTER INSERT OR UPDATE ON orders
             FOR EACH STATEMENT EXECUTE FUNCTION refuse();"
    )
}

async fn confirm(store: &Store, id: uuid::Uuid) -> Result<Changed, StoreError> {
    let changing = Changing {
        id,
        patch: Patch {
            status: Some(Status::Confirmed),
            ..Patch::default()
        },
        if_match: IfMatch::Any,
        if_none_match: None,
        traceparent: None,
        deadline: crate::support::in_a_minute(),
    };
    store.change(changing).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_undid_because_of_another_transaction_is_repeated() {
    for code in ["40001", "40P01"] {
        let database = Database::postgres().await;
        let store = store(&database, &[]).await;
        let order = place(&store, new_order("a")).await;
        database.execute(&raising(code, 2)).await;
        place(&store, new_order("b")).await;
        database.execute("ALTER SEQUENCE attempts RESTART").await;
        let changed = confirm(&store, order.id).await.unwrap();
        assert!(matches!(changed, Changed::Now(_)), "{changed:?}");
        // Not for ever.
        database.execute("ALTER SEQUENCE attempts RESTART").await;
        let refusing = "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM nextval('attempts'); RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$";
        database.execute(refusing).await;
        let error = store.create(new_order("c")).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        let tries = database.number("SELECT last_value FROM attempts").await;
        assert_eq!(tries, 4);
    }
}

/// Two rows that each insert touches, one after the other.
const TWO_ROWS: &str = "
    CREATE TABLE hot (id int PRIMARY KEY, n int NOT NULL);
    INSERT INTO hot VALUES (1, 0), (2, 0);
    CREATE FUNCTION touch_hot() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
        UPDATE hot SET n = n + 1 WHERE id = 1;
        UPDATE hot SET n = n + 1 WHERE id = 2;
        RETURN NULL; END';
    CREATE TRIGGER hot AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION touch_hot();";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_victim_of_a_deadlock_is_repeated() {
    let database = Database::postgres().await;
    let store = store(&database, &[]).await;
    database.execute(TWO_ROWS).await;
    let other = database.client().await;
    // The server looks for deadlocks when a lock was waited for this long, so the first to wait is the
    // victim.
    other
        .batch_execute("SET deadlock_timeout = '10s'; BEGIN; UPDATE hot SET n = 10 WHERE id = 2")
        .await
        .unwrap();
    let placing = tokio::spawn({
        let store = store.clone();
        async move { store.create(new_order("a")).await }
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("it waits", Duration::from_secs(3), async || {
        database.number(waiting).await == 1
    })
    .await;
    other
        .batch_execute("UPDATE hot SET n = n + 10 WHERE id = 1; COMMIT")
        .await
        .unwrap();
    placing.await.unwrap().unwrap();
    let sum = database.number("SELECT sum(n) FROM hot").await;
    assert_eq!(sum, 10 + 1 + 10 + 1, "both are there, once");
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_of_the_database_is_no_internal_error() {
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
                "DROP TRIGGER refuse ON orders; DROP FUNCTION refuse; DROP SEQUENCE attempts";
            database.execute(undo).await;
        }
        database.execute(&raising(code, 1_000_000)).await;
        let error = store.create(new_order("a")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{code}: {error}");
    }
    database.execute("DROP TRIGGER refuse ON orders").await;
    place(&store, new_order("a")).await;
    // And a real lock time-out.
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
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
async fn the_isolation_level_is_pinned() {
    let database = Database::postgres().await;
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    let set = format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'");
    database.execute(&set).await;
    let store = store(&database, &[]).await;
    let checking = "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF current_setting('transaction_isolation') <> 'read committed' THEN
                RAISE EXCEPTION 'it is %', current_setting('transaction_isolation');
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER note AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION note();";
    database.execute(checking).await;
    place(&store, new_order("a")).await;
}

/// A pooler in transaction mode, or an administrator, may take a session's prepared statements away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_without_its_prepared_statements_is_replaced() {
    let database = Database::postgres().await;
    let flags = ["--pool-max-size", "1", "--pool-min-idle", "1"];
    let store = store(&database, &flags).await;
    let order = place(&store, new_order("a")).await;
    // The session itself forgets them at the next statement that it has not prepared yet.
    let forgetting = "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN EXECUTE 'DEALLOCATE ALL'; RETURN NULL; END $$;
        CREATE TRIGGER forget AFTER UPDATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION forget();";
    database.execute(forgetting).await;
    confirm(&store, order.id).await.unwrap();
    place(&store, new_order("b")).await;
    assert!(store.get(order.id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_utf8_is_refused_with_its_encoding() {
    let database = Database::postgres().await;
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    for encoding in ["SQL_ASCII", "LATIN1"] {
        let admin = database.client().await;
        let other = format!("{name}_{}", encoding.to_lowercase());
        let create = format!("CREATE DATABASE {other} ENCODING '{encoding}' TEMPLATE template0");
        admin.batch_execute(&create).await.unwrap();
        let url = database.url().replace(&name, &other);
        let (_, connector) = open_url(&url, &["--pool-min-idle", "0"]);
        let refused = connector.migrate(MigrateOptions::default()).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(encoding), "{refused}");
        let drop = format!("DROP DATABASE {other} WITH (FORCE)");
        admin.batch_execute(&drop).await.unwrap();
    }
}

/// A server whose messages are German, if the machine can make one.
fn german() -> Option<(tempfile::TempDir, Cluster)> {
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
async fn the_language_of_the_server_does_not_matter() {
    let Some((_locales, cluster)) = german() else {
        eprintln!("skipped: localedef cannot make de_DE.UTF-8 here");
        return;
    };
    let database = Database::postgres_in(cluster.url.clone()).await;
    let holder = database.client().await;
    let error = holder.batch_execute("SELECT 1/0").await.unwrap_err();
    let message = error.as_db_error().unwrap().message().to_owned();
    // Debian keeps the translations in another package in some releases.
    if !message.contains("durch Null") {
        eprintln!("skipped: the server has no German messages: {message}");
        return;
    }
    let store = store(&database, &["--statement-timeout", "500ms"]).await;
    let order = place(&store, new_order("a")).await;
    holder
        .batch_execute("BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE")
        .await
        .unwrap();
    let late = store.create(new_order("a")).await.unwrap_err();
    assert_eq!(late, StoreError::StatementTimeout);
    holder.batch_execute("ROLLBACK").await.unwrap();
    // A prepared statement that a migration outdates.
    store.get(order.id).await.unwrap();
    database
        .execute("ALTER TABLE orders ALTER COLUMN quantity TYPE bigint")
        .await;
    database
        .execute("ALTER TABLE orders ALTER COLUMN quantity TYPE integer")
        .await;
    store.get(order.id).await.unwrap();
    // Sessions that an administrator ends.
    database
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'order-service'",
        )
        .await;
    place(&store, new_order("b")).await;
    assert_eq!(store.readiness().await, Readiness::Ready);
}
