//! Recording a metric allocates nothing once its series exist.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Uri;
use order_service::telemetry::{Metrics, QueryName, Recorder, StoreTimes};

#[test]
fn recording_metrics_allocates_nothing_once_their_series_exist() {
    let metrics = Arc::new(Metrics::new().unwrap());
    let recorder = Recorder::new(Arc::clone(&metrics));
    let (uri, id) = (Uri::from_static("/api/v1/orders"), Rc::<str>::from("id"));
    let request = |status| {
        recorder
            .open("GET", "/api/v1/orders", uri.clone(), Rc::clone(&id), None)
            .set_status(status);
    };
    let queue = metrics.queue("get");
    let record_all = || {
        for status in [200, 404, 503] {
            request(status);
        }
        queue.depth.inc();
        queue.batch_size.observe(17.0);
        queue.depth.dec();
        for requests in [1, 17] {
            queue
                .stages
                .observe((0..requests).map(|_| StoreTimes::default()));
        }
        metrics.pool_acquire.observe(0.001);
        metrics.query_took(QueryName::GetOrders, Duration::from_micros(300));
        metrics.orders_created.inc();
    };

    let first = allocation_counter::measure(record_all);
    assert!(
        first.count_total > 0,
        "the first request creates series, so allocations are counted"
    );
    let later = allocation_counter::measure(|| (0..1000).for_each(|_| record_all()));
    assert_eq!(later.count_total, 0);
}
