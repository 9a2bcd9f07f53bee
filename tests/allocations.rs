//! Counting a request costs no allocation once its kind has been seen.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Uri;
use order_service::telemetry::{Metrics, QueryName, Recorder};

#[test]
fn a_metric_allocates_nothing_on_the_steady_path() {
    let metrics = Arc::new(Metrics::new().unwrap());
    let recorder = Recorder::new(Arc::clone(&metrics));
    let (uri, id) = (Uri::from_static("/api/v1/orders"), Rc::<str>::from("id"));
    let request = |status| {
        recorder
            .open("GET", "/api/v1/orders", uri.clone(), Rc::clone(&id), None)
            .set_status(status);
    };
    let queue = metrics.queue("get");
    let all = || {
        for status in [200, 404, 503] {
            request(status);
        }
        queue.depth.inc();
        queue.batch_size.observe(17.0);
        queue.depth.dec();
        metrics.pool_acquire.observe(0.001);
        metrics.query_took(QueryName::GetOrders, Duration::from_micros(300));
        metrics.orders_created.inc();
    };

    let first = allocation_counter::measure(all);
    assert!(first.count_total > 0, "a series is found, so this counts");
    let later = allocation_counter::measure(|| (0..1000).for_each(|_| all()));
    assert_eq!(later.count_total, 0);
}
