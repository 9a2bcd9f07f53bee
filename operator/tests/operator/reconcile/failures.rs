//! The API server says no, or nothing; or somebody else is the leader.

use std::time::Duration;

use order_operator::leader::Moment;
use order_operator::reconcile::error::Class;
use serde_json::json;

use crate::test_cluster::{World, is_read};

#[tokio::test]
async fn who_is_not_the_leader_writes_nothing() {
    let world = World::new(World::spec("orders:1"));
    world.fence.drop_it();
    let (result, calls) = world.run().await;
    assert_eq!(result.unwrap_err().class(), Class::Fenced);
    assert!(calls.iter().all(|call| is_read(call)), "{calls:?}");

    // Leadership that has run out by the clock is as good as none.
    world.fence.hold(Moment::now(), Duration::ZERO);
    let (result, calls) = world.run().await;
    assert_eq!(result.unwrap_err().class(), Class::Fenced);
    assert!(calls.iter().all(|call| is_read(call)), "{calls:?}");

    world.fence.hold(Moment::now(), Duration::from_secs(60));
    world.settle().await;
    assert_eq!(world.said("Migrated"), "False Migrating");
}

#[tokio::test]
async fn what_passes_is_tried_again_and_not_told() {
    let world = World::new(World::spec("orders:1"));
    world.fail("apply services", 503, 1);
    let (result, calls) = world.run().await;
    assert_eq!(result.unwrap_err().class(), Class::Transient);
    assert!(!calls.contains(&"status".to_owned()), "{calls:?}");
    world.settle().await;
    assert_eq!(world.said("Degraded"), "False AsExpected");
}

#[tokio::test]
async fn what_stays_is_told() {
    let world = World::new(World::spec("orders:1"));
    world.fail("apply services", 403, 2);
    let (result, calls) = world.run().await;
    assert_eq!(result.unwrap_err().class(), Class::Permanent);
    assert_eq!(calls[calls.len() - 2..], ["status", "event ApplyFailed"]);
    assert_eq!(world.said("Degraded"), "True ApplyFailed");
    let message = world.condition("Degraded").message;
    assert_eq!(message, "apply Service orders: as the test wants it");
    let (result, calls) = world.run().await;
    assert!(result.is_err());
    assert!(
        !calls.contains(&"status".to_owned()),
        "told once: {calls:?}"
    );
    world.settle().await;
    assert_eq!(world.said("Degraded"), "False AsExpected");
}

#[tokio::test]
async fn somebody_else_was_faster() {
    let world = World::new(World::spec("orders:1"));
    world.fail("apply services", 409, 1);
    let (result, _) = world.run().await;
    assert_eq!(result.unwrap_err().class(), Class::Conflict);
    world.settle().await;
}

#[tokio::test]
async fn an_event_that_cannot_be_written_stops_nothing() {
    let world = World::new(World::spec("orders:1"));
    world.fail("event", 403, 1);
    let (result, calls) = world.run().await;
    result.unwrap();
    assert!(calls.contains(&"event Migrating".to_owned()));
}

#[tokio::test]
async fn a_spec_that_an_older_crd_let_through_is_told_and_touches_nothing() {
    let world = World::new(World::spec("orders:1"));
    world.edit(|spec| spec["autoscaling"] = json!({"maxReplicas": 3}));
    world.expect(&["status", "event InvalidSpec"]).await;
    assert_eq!(world.said("Ready"), "False InvalidSpec");
    world.expect(&[]).await;
}

#[tokio::test]
async fn an_orderservice_that_goes_meanwhile_is_no_error() {
    let world = World::new(World::spec("orders:1"));
    world.fail("status", 404, 1);
    let (result, _) = world.run().await;
    result.unwrap();
}
