//! Every path of a reconcile, against the scripted API server.

mod autoscaling;
mod conflicts;
mod contests;
mod drift;
mod failures;
mod key;
mod lasting;
mod migration;
mod rollback;
mod steady;

/// What a quiet reconcile asks: the secret, and how the Deployment stands.
pub const QUIET: [&str; 2] = ["get secrets db", "get deployments orders"];

/// The same, and more after it.
pub fn quiet_and<'a>(more: &[&'a str]) -> Vec<&'a str> {
    QUIET.into_iter().chain(more.iter().copied()).collect()
}

/// Reads, and writes nothing.
pub async fn assert_quiet(world: &crate::world::World) {
    let (result, calls) = world.run().await;
    result.unwrap();
    assert!(
        calls.iter().all(|call| crate::world::is_read(call)),
        "{calls:?}"
    );
}
