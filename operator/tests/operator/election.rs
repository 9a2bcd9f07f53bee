//! The election of a leader: two candidates for one Lease.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use kube::Client;
use order_operator::leader::{Election, Fence, Timing};
use serde_json::{Value, json};

use crate::api_server::serve;

const LEASE: Duration = Duration::from_secs(1);

/// An API server with one Lease. It rejects a write of another version than the current one.
#[derive(Clone, Default)]
struct Leases(Arc<Mutex<(u64, Option<Value>)>>);

impl Leases {
    fn respond(&self, method: &Method, mut body: Value) -> (u16, Value) {
        let refused = |code: u16, reason: &str| {
            (
                code,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "reason": reason, "message": reason}),
            )
        };
        let mut kept = self.0.lock().unwrap();
        match (method, &kept.1) {
            (&Method::GET, Some(lease)) => (200, lease.clone()),
            (&Method::GET, None) => refused(404, "NotFound"),
            (&Method::POST, Some(_)) => refused(409, "AlreadyExists"),
            (&Method::PUT, Some(lease))
                if lease["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] =>
            {
                refused(409, "Conflict")
            }
            _ => {
                kept.0 += 1;
                body["metadata"]["resourceVersion"] = json!(kept.0.to_string());
                kept.1 = Some(body.clone());
                (200, body)
            }
        }
    }

    /// Changes the Lease without a response to a candidate.
    fn write(&self, how: impl FnOnce(&mut Value)) {
        let mut kept = self.0.lock().unwrap();
        kept.0 += 1;
        let version = json!(kept.0.to_string());
        let lease = kept.1.as_mut().unwrap();
        lease["metadata"]["resourceVersion"] = version;
        how(lease);
    }

    fn holder(&self) -> Value {
        self.0.lock().unwrap().1.clone().unwrap()["spec"]["holderIdentity"].clone()
    }

    fn candidate(&self, identity: &str) -> (Election, Fence) {
        let leases = self.clone();
        let service = serve(move |request, body| leases.respond(&request.method, body));
        let fence = Fence::default();
        let client = Client::new(service, "n");
        let timing = Timing { lease: LEASE };
        let election = Election::new(
            client,
            "n",
            "order-operator",
            identity.to_owned(),
            timing,
            fence.clone(),
        );
        (election, fence)
    }
}

#[tokio::test]
async fn a_leader_that_stops_renewing_is_replaced_and_writes_nothing() {
    let leases = Leases::default();
    let (mut first, first_fence) = leases.candidate("first");
    let (mut second, second_fence) = leases.candidate("second");
    assert!(first.try_once().await && first_fence.allows_writes());
    assert!(!second.try_once().await && !second_fence.allows_writes());

    // As if the process were stopped: it does not renew and does not notice.
    tokio::time::sleep(LEASE * 3 / 4).await;
    assert!(
        !first_fence.allows_writes(),
        "its validity ends before the others take over"
    );
    assert!(!second.try_once().await, "the others wait backoff");
    tokio::time::sleep(LEASE / 2).await;
    assert!(second.try_once().await && second_fence.allows_writes());
    assert_eq!(leases.holder(), "second");

    first.renew().await;
    assert!(!first_fence.allows_writes());
    assert!(!first.try_once().await);
}

#[tokio::test]
async fn a_renewed_lease_is_not_taken_over() {
    let leases = Leases::default();
    let (mut first, first_fence) = leases.candidate("first");
    let (mut second, _) = leases.candidate("second");
    for _ in 0..8 {
        assert!(first.try_once().await);
        assert!(!second.try_once().await);
        tokio::time::sleep(LEASE / 5).await;
    }
    assert!(first_fence.allows_writes());
}

#[tokio::test]
async fn a_released_lease_is_free_at_once() {
    let leases = Leases::default();
    let (mut first, first_fence) = leases.candidate("first");
    let (mut second, _) = leases.candidate("second");
    assert!(first.try_once().await);
    assert!(!second.try_once().await);
    first.release().await;
    assert!(!first_fence.allows_writes());
    assert_eq!(leases.holder(), Value::Null);
    assert!(second.try_once().await);
    assert_eq!(leases.holder(), "second");
    let transitions =
        leases.0.lock().unwrap().1.clone().unwrap()["spec"]["leaseTransitions"].clone();
    assert_eq!(transitions, 2);
}

#[tokio::test]
async fn a_renewal_without_a_response_does_not_prevent_the_release() {
    let leases = Leases::default();
    let (mut first, _) = leases.candidate("first");
    let (mut second, _) = leases.candidate("second");
    assert!(first.try_once().await);
    leases.write(|lease| lease["spec"]["renewTime"] = json!("2026-01-01T00:00:00.000000Z"));
    first.release().await;
    assert_eq!(leases.holder(), Value::Null);
    assert!(second.try_once().await, "at once");
}

#[tokio::test]
async fn a_lease_of_another_holder_is_not_released() {
    let leases = Leases::default();
    let (mut first, first_fence) = leases.candidate("first");
    assert!(first.try_once().await);
    leases.write(|lease| lease["spec"]["holderIdentity"] = json!("second"));
    first.release().await;
    assert!(!first_fence.allows_writes());
    assert_eq!(leases.holder(), "second");
}
