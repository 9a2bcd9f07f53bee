//! Every path of a reconcile, against the scripted API server.

mod autoscaling;
mod conflicts;
mod contention;
mod digest_key;
mod drift;
mod failures;
mod lasting_errors;
mod migration;
mod rollback;
mod steady_state;

/// What a quiet reconcile asks: the secret, and how the Deployment stands.
pub const IDLE_CALLS: [&str; 2] = ["get secrets db", "get deployments orders"];

/// The same, and more after it.
pub fn idle_calls_and<'a>(more: &[&'a str]) -> Vec<&'a str> {
    IDLE_CALLS.into_iter().chain(more.iter().copied()).collect()
}

/// Reads, and writes nothing.
pub async fn assert_idle(cluster: &crate::test_cluster::TestCluster) {
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(
        calls.iter().all(|call| crate::test_cluster::is_read(call)),
        "{calls:?}"
    );
}
