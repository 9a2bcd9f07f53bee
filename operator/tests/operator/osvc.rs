//! The kubectl plugin against a scripted API server: what it reads, prints and writes.

mod changes;
mod cluster;
mod objects;
mod process;
mod status;

use order_operator::osvc::OsvcError;
use serde_json::json;

use cluster::Fake;
use objects::{migration_pod, rolling_out};

#[tokio::test]
async fn migrate_logs_prints_the_newest_pod() {
    let fake = rolling_out();
    fake.add(migration_pod("orders-migrate-1-b", "2026-01-02T00:00:00Z"));
    let run = fake
        .run("migrate-logs orders --follow --tail 5")
        .await
        .unwrap();
    assert_eq!(run.out, "\"log of orders-migrate-1-b\"");
    assert_eq!(run.notes, "pod orders-migrate-1-b\n");
    let last = run.paths.last().unwrap();
    assert!(
        last.contains("follow=true") && last.contains("tailLines=5"),
        "{last}"
    );
    fake.change("orders-migrate-1-b", |pod| {
        pod["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient cpu."}]});
    });
    let error = fake.run("migrate-logs orders").await.unwrap_err();
    assert!(
        error.to_string().contains("has not started: Unschedulable"),
        "{error}"
    );
    fake.remove("orders-migrate-1-a");
    fake.remove("orders-migrate-1-b");
    let error = fake.run("migrate-logs orders").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a Job that succeeded is deleted"),
        "{error}"
    );
}

#[tokio::test]
async fn errors_name_the_cause_and_have_an_exit_code() {
    for words in [
        "status nothing",
        "retry nothing",
        "pause nothing",
        "rollback nothing",
        "migrate-logs nothing",
    ] {
        let error = rolling_out().run(words).await.unwrap_err();
        assert_eq!(error.exit_code(), 3, "{words}: {error}");
        let text = "OrderService nothing does not exist in the namespace shop";
        assert_eq!(error.to_string(), text, "{words}");
    }
    for (code, message, exit_code, expected) in [
        (
            403,
            "orderservices is forbidden: User \"a\" cannot",
            4,
            "not permitted: orderservices is forbidden",
        ),
        (401, "Unauthorized", 4, "rejects the credential"),
        (500, "etcd is down", 1, "etcd is down"),
        (0, "", 1, "no response within 100ms"),
    ] {
        for (words, call) in [
            ("status orders", "get orderservices"),
            ("status", "list orderservices"),
            ("retry orders", "patch orderservices"),
            ("migrate-logs orders", "log pods"),
        ] {
            let fake = rolling_out();
            fake.fail(call, code, message);
            let error = fake.run(words).await.unwrap_err();
            assert_eq!(error.exit_code(), exit_code, "{words}: {error}");
            assert!(error.to_string().contains(expected), "{words}: {error}");
        }
    }
    let fake = Fake::default();
    fake.not_installed();
    let error = fake.run("status orders").await.unwrap_err();
    assert!(matches!(error, OsvcError::NotInstalled), "{error}");
    assert_eq!(error.exit_code(), 3);
}
