use futures_util::stream;
use kube::client::Body;
use kube::runtime::reflector;
use serde_json::{Value, json};

use super::*;
use crate::cluster::{Cluster, Recorder};
use crate::reconcile::digest_key::DigestKey;
use crate::reconcile::error::ErrorClass;

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

fn context() -> Arc<Context> {
    let (service, _) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
    let client = kube::Client::new(service, "shop");
    Arc::new(Context::new(
        Cluster::new(client.clone()),
        Recorder::new(client, "test".to_owned()),
        Arc::new(Metrics::new().unwrap()),
        DigestKey::in_namespace("shop"),
        std::time::Duration::from_secs(300),
    ))
}

/// Follows these events to their end. What is known then, and who has news.
async fn follow(
    context: &Arc<Context>,
    events: Vec<Event<DeserializeGuard<OrderService>>>,
) -> (Store<OrderService>, usize) {
    let (store, writer) = reflector::store();
    let (queue, mut receiver) = Queue::new(context.metrics.clone());
    let (ready, _) = oneshot::channel();
    let stream = stream::iter(events.into_iter().map(Ok));
    follow_order_services(stream, writer, context.clone(), store.clone(), queue, ready).await;
    let mut news = 0;
    while receiver.try_recv().is_ok() {
        news += 1;
    }
    (store, news)
}

#[tokio::test]
async fn what_cannot_be_read_any_more_is_forgotten_and_hides_no_other() {
    let good = json!({"image": "a:1", "replicas": 1, "database": {"secretRef": {"name": "s"}}});
    let bad = json!({"image": ["of a later version"]});
    let context = context();
    context.backoff.failed("u", ErrorClass::Transient);
    let start = || {
        vec![
            Event::Init,
            Event::InitApply(object(1, &good)),
            Event::InitDone,
        ]
    };

    let (store, news) = follow(&context, start()).await;
    assert_eq!((store.state().len(), news), (1, 1));
    let kept = store.state().remove(0);
    assert!(kept.metadata.labels.is_none(), "nobody reads them");
    assert_eq!(kept.metadata.annotations, Some([].into()));

    let mut events = start();
    events.push(Event::Apply(object(2, &bad)));
    let (store, _) = follow(&context, events).await;
    assert!(
        store.state().is_empty(),
        "nothing goes on by a spec that does not hold any more"
    );
    assert!(
        context.backoff.failing_for("u").is_zero(),
        "nor is what failed remembered"
    );

    // In a list it is left out; the others are there.
    let events = vec![
        Event::Init,
        Event::InitApply(object(2, &bad)),
        Event::InitDone,
    ];
    let (store, news) = follow(&context, events).await;
    assert!(store.state().is_empty() && news == 0);

    // And readable again it is news.
    let mut events = start();
    events.extend([
        Event::Apply(object(2, &bad)),
        Event::Apply(object(3, &good)),
    ]);
    let (store, news) = follow(&context, events).await;
    assert_eq!((store.state().len(), news), (1, 2));
}
