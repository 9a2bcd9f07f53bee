//! Every path of a reconcile with the scripted API server.

mod access;
mod admission;
mod autoscaling;
mod conflicts;
mod contention;
mod database_secret;
mod database_tls;
mod digest_key;
mod drift;
mod failed_template;
mod failures;
mod fleet;
mod fleet_url;
mod gitops;
mod lasting_errors;
mod maintenance;
mod migration;
mod migration_pods;
mod obsolete_migration;
mod pod_failures;
mod pod_monitor;
mod retry;
mod rollback;
mod scaling;
mod steady_state;

/// The requests of a reconcile without changes.
pub const IDLE_CALLS: [&str; 3] = [
    "get secrets db",
    "get deployments orders",
    // The copy that the pods read.
    "get secrets orders-url-*",
];

/// Those requests, and more after them.
pub fn idle_calls_and<'a>(more: &[&'a str]) -> Vec<&'a str> {
    IDLE_CALLS.into_iter().chain(more.iter().copied()).collect()
}

/// Reconciles once, and expects no write.
pub async fn assert_idle(cluster: &crate::test_cluster::TestCluster) {
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(
        calls.iter().all(|call| crate::test_cluster::is_read(call)),
        "{calls:?}"
    );
}
