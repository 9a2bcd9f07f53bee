use futures_util::stream;
use kube::runtime::reflector;
use serde_json::{Value, json};

use super::*;

fn object(version: u32, spec: &Value) -> DeserializeGuard<OrderService> {
    serde_json::from_value(json!({
        "apiVersion": "orders.example.com/v1alpha1", "kind": "OrderService",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "u", "generation": version,
            "resourceVersion": version.to_string(), "labels": {"a": "b"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "long"}},
        "spec": spec,
    }))
    .unwrap()
}

/// Follows these events to their end. Returns the stored objects and the number of queued reconciles.
async fn follow(
    records: &Arc<Records>,
    events: Vec<Event<DeserializeGuard<OrderService>>>,
) -> (Store<OrderService>, usize) {
    let (store, writer) = reflector::store();
    let (queue, mut receiver) = Queue::new(Arc::new(Metrics::new().unwrap()));
    let (ready, _) = oneshot::channel();
    let stream = stream::iter(events.into_iter().map(Ok));
    follow_order_services(stream, writer, records.clone(), store.clone(), queue, ready).await;
    let mut queued = 0;
    while receiver.try_recv().is_ok() {
        queued += 1;
    }
    (store, queued)
}

#[tokio::test]
async fn an_object_that_cannot_be_deserialized_counts_as_deleted_and_blocks_no_other() {
    let good = json!({"image": "a:1", "replicas": 1, "database": {"secretRef": {"name": "s"}}});
    let bad = json!({"image": ["of a later version"]});
    let records = Arc::new(Records::default());
    records
        .backoff
        .failed("u", std::time::Duration::from_secs(1));
    let start = || {
        vec![
            Event::Init,
            Event::InitApply(object(1, &good)),
            Event::InitDone,
        ]
    };

    let (store, queued) = follow(&records, start()).await;
    assert_eq!((store.state().len(), queued), (1, 1));
    let kept = store.state().remove(0);
    assert!(
        kept.metadata.labels.is_none(),
        "labels are dropped to save memory"
    );
    assert_eq!(kept.metadata.annotations, Some([].into()));

    let mut events = start();
    events.push(Event::Apply(object(2, &bad)));
    let (store, _) = follow(&records, events).await;
    assert!(
        store.state().is_empty(),
        "the previous spec must not be used"
    );
    assert!(
        records.backoff.failing_for("u").is_zero(),
        "its failures are removed as well"
    );

    // A list omits the object.
    let events = vec![
        Event::Init,
        Event::InitApply(object(2, &bad)),
        Event::InitDone,
    ];
    let (store, queued) = follow(&records, events).await;
    assert!(store.state().is_empty() && queued == 0);

    // The object is queued once it can be deserialized again.
    let mut events = start();
    events.extend([
        Event::Apply(object(2, &bad)),
        Event::Apply(object(3, &good)),
    ]);
    let (store, queued) = follow(&records, events).await;
    assert_eq!((store.state().len(), queued), (1, 2));
}

#[tokio::test]
async fn only_deletions_by_other_clients_are_contention() {
    let service: PartialObjectMeta = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "s", "resourceVersion": "7",
            "ownerReferences": [{"apiVersion": "orders.example.com/v1alpha1", "kind": "OrderService",
                "name": "orders", "uid": "u", "controller": true}]},
    }))
    .unwrap();
    let spec = json!({"image": "a:1", "replicas": 1, "database": {"secretRef": {"name": "s"}}});
    for is_own in [false, true] {
        let records = Arc::new(Records::default());
        let listed = vec![
            Event::Init,
            Event::InitApply(object(1, &spec)),
            Event::InitDone,
        ];
        let (store, _) = follow(&records, listed).await;
        let create = || {
            records
                .contention
                .allow_create("u", Kind::Service, "orders")
        };
        for _ in 0..5 {
            if is_own {
                records.contention.record_own_deletion("s");
            }
            let (queue, mut receiver) = Queue::new(Arc::new(Metrics::new().unwrap()));
            let events = stream::iter([Ok(Event::Delete(service.clone()))]);
            let (ready, _) = oneshot::channel();
            let (kind, records) = (Kind::Service, records.clone());
            follow_owned(events, kind, records, store.clone(), queue, ready).await;
            assert!(receiver.try_recv().is_ok(), "a reconcile decides");
            // The next deletion counts only after the object was created again.
            let _ = create();
        }
        assert_eq!(create().is_ok(), is_own);
        assert_eq!(records.contention.summary("u").is_none(), is_own);
    }
}

#[tokio::test]
async fn a_new_leader_restores_the_permits_and_failures_of_the_earlier_one() {
    let restored = async |status: Value| {
        let records = Arc::new(Records::default());
        let spec = json!({"image": "a:1", "replicas": 1, "database": {"secretRef": {"name": "s"}}});
        let mut listed = object(4, &spec);
        listed.0.as_mut().unwrap().status = serde_json::from_value(status).unwrap();
        let events = vec![Event::Init, Event::InitApply(listed), Event::InitDone];
        follow(&records, events).await;
        let counts = records.fleet.counts();
        (counts.running, counts.failed)
    };
    let rolling = |generation: u32, reason: &str| {
        json!({"settledGeneration": generation, "conditions": [{"type": "Progressing", "status": "True",
            "reason": reason, "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
    };
    assert_eq!(restored(rolling(4, "RollingOut")).await, (1, 0));
    assert_eq!(restored(rolling(4, "Migrating")).await, (1, 0));
    assert_eq!(
        restored(rolling(3, "RollingOut")).await,
        (0, 0),
        "a change of the spec"
    );
    assert_eq!(restored(rolling(4, "RollingBack")).await, (0, 0));
    assert_eq!(
        restored(json!({"failedOperatorVersion": VERSION})).await,
        (0, 1)
    );
    assert_eq!(
        restored(json!({"failedOperatorVersion": "0.0.0"})).await,
        (0, 0)
    );
}

#[tokio::test]
async fn an_object_that_was_deleted_while_the_watch_was_down_is_forgotten() {
    let records = Arc::new(Records::default());
    records.fleet.limit(crate::fleet::Limits {
        concurrent: 0,
        failures: 1,
    });
    let name = ("shop".to_owned(), "orders".to_owned());
    let _ = records.fleet.request("u", name, Cause::Template);
    records.fleet.record("u", true);
    let spec = json!({"image": "a:1", "replicas": 1, "database": {"secretRef": {"name": "s"}}});
    let mut failed = object(1, &spec);
    failed.0.as_mut().unwrap().status =
        serde_json::from_value(json!({"failedOperatorVersion": VERSION})).unwrap();
    let events = vec![
        Event::Init,
        Event::InitApply(failed),
        Event::InitDone,
        Event::Init,
        Event::InitDone,
    ];
    let (store, _) = follow(&records, events).await;
    assert!(store.state().is_empty());
    let counts = records.fleet.counts();
    assert_eq!(
        (counts.waiting, counts.failed, counts.is_held),
        (0, 0, false)
    );
}
