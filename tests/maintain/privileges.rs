//! A role that lacks a privilege, and statistics of personal data.

use serde_json::json;

use crate::support::binary::{migrate, run, stderr};
use crate::support::database::Database;
use crate::{create_old_partition, days_ago, maintained, report};

/// The URL of the database for a role of its own, which has the rights of the service and no others.
async fn url_of_service_role(database: &Database, role: &str) -> String {
    let sql = format!(
        "CREATE ROLE {role} LOGIN;
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"
    );
    database.execute(&sql).await;
    let url = database.url();
    let (_, host) = url.split_once('@').unwrap();
    format!("postgresql://{role}@{host}")
}

#[tokio::test]
async fn a_missing_privilege_is_named_with_its_remedy() {
    let database = Database::postgres().await;
    migrate(&database);
    let role = format!("role_{}", uuid::Uuid::new_v4().simple());
    let url = url_of_service_role(&database, &role).await;
    let maintain = |retention: &str| {
        let variables = [
            ("DATABASE_URL", url.as_str()),
            ("EVENT_RETENTION", retention),
        ];
        run(&["maintain"], &variables)
    };
    let expect_remedy = |retention: &str, expected: &str| {
        let out = maintain(retention);
        let text = stderr(&out);
        assert_eq!(out.status.code(), Some(1), "{text}");
        assert!(text.contains(expected) && text.contains(&role), "{text}");
        assert!(!text.contains("not available"), "{text}");
    };
    // Nothing that needs a privilege.
    assert_eq!(report(&maintain(""))["partitions_created"], json!([]));
    let belongs =
        "the tables belong to postgres, and only their owner may create and remove partitions";
    // To remove a month.
    create_old_partition(&database, 150).await;
    let statistics = "SELECT format('ALTER TABLE %s ALTER data SET STATISTICS 0, ALTER traceparent SET STATISTICS 0,
            ALTER authid SET STATISTICS 0', inhrelid::regclass) FROM pg_inherits
        WHERE inhparent = 'events'::regclass";
    let client = database.client().await;
    for row in client.query(statistics, &[]).await.unwrap() {
        client.batch_execute(row.get(0)).await.unwrap();
    }
    expect_remedy("90d", belongs);
    // To create one.
    let last = "SELECT max(inhrelid::regclass::text) FROM pg_inherits
        WHERE inhparent = 'events'::regclass AND inhrelid::regclass::text <> 'events_default'";
    let last: String = client.query_one(last, &[]).await.unwrap().get(0);
    client
        .batch_execute(&format!("DROP TABLE {last}"))
        .await
        .unwrap();
    expect_remedy("", belongs);
    // What the message says is a remedy.
    let tables = "SELECT format('ALTER TABLE %I OWNER TO ', relname) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')";
    for row in client.query(tables, &[]).await.unwrap() {
        let change: String = row.get(0);
        let change = format!("{change}{role}");
        client.batch_execute(&change).await.unwrap();
    }
    expect_remedy("", "GRANT CREATE ON SCHEMA public TO");
    client
        .batch_execute(&format!("GRANT CREATE ON SCHEMA public TO {role}"))
        .await
        .unwrap();
    let created = report(&maintain("90d"));
    assert_eq!(created["partitions_created"], json!([last]));
    assert_eq!(created["partitions_removed"].as_array().unwrap().len(), 1);
    client
        .batch_execute(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"))
        .await
        .unwrap();
}

/// The columns with personal data that have statistics.
async fn columns_with_statistics(database: &Database) -> i64 {
    let columns =
        "pg_stats WHERE attname IN ('data', 'traceparent', 'authid') AND tablename LIKE 'events%'";
    database.count(columns).await
}

#[tokio::test]
async fn a_partition_that_was_created_by_hand_loses_its_statistics() {
    let database = Database::postgres().await;
    migrate(&database);
    create_old_partition(&database, 40).await;
    let time = days_ago(&database, 40);
    let insert = format!(
        "INSERT INTO events (tenant, event_type, authtype, authid, traceparent, order_id, version, position, occurred_at,
            recorded_at, data, data_bytes)
        SELECT 'default', 'created', 'api_key', 'ann', '00-1', gen_random_uuid(), 1, 1, {time}, {time}, '{{}}', 2
            FROM generate_series(1, 100)"
    );
    database.execute(&insert).await;
    let changed = maintained(&database, &[]);
    let name = changed["statistics_removed"][0]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(changed["statistics_removed"], json!([name]));
    database.execute("ANALYZE").await;
    assert_eq!(columns_with_statistics(&database).await, 0);
    assert_eq!(maintained(&database, &[])["statistics_removed"], json!([]));
    // Statistics that are stored already.
    let reset = format!("ALTER TABLE {name} ALTER authid SET STATISTICS -1");
    database.execute(&format!("{reset}; ANALYZE")).await;
    assert!(columns_with_statistics(&database).await > 0);
    assert_eq!(
        maintained(&database, &[])["statistics_removed"],
        json!([name])
    );
    assert_eq!(columns_with_statistics(&database).await, 0);
    database.execute("ANALYZE").await;
    assert_eq!(columns_with_statistics(&database).await, 0);
    // A migration does the same.
    database.execute(&format!("{reset}; ANALYZE")).await;
    migrate(&database);
    assert_eq!(columns_with_statistics(&database).await, 0);
    let types = "pg_attribute WHERE attrelid = 'events'::regclass AND attname IN ('data', 'traceparent', 'authid')
        AND atttypid::regtype::text IN ('json', 'text', 'auth_id')";
    assert_eq!(database.count(types).await, 3);
    // Other columns keep their statistics.
    let others = format!("pg_stats WHERE tablename = '{name}'");
    assert!(database.count(&others).await > 5);
}
