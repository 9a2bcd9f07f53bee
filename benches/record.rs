//! The cost of the access record of a request, and of the metrics of a batch of 17 requests.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up must fail"
)]

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::http::Uri;
use criterion::{Criterion, criterion_group, criterion_main};
use order_service::telemetry::{Metrics, QueryName, Recorder, StoreTimes};

fn record(criterion: &mut Criterion) {
    let metrics = Arc::new(Metrics::new().expect("metric names are unique"));
    let recorder = Recorder::new(Arc::clone(&metrics));
    let (uri, id) = (Uri::from_static("/api/v1/orders"), Rc::<str>::from("id"));
    criterion.bench_function("record of a request", |bench| {
        bench.iter(|| {
            let mut record =
                recorder.open("GET", "/api/v1/orders", uri.clone(), Rc::clone(&id), None);
            record.set_status(black_box(200));
        });
    });

    let queue = metrics.queue("get");
    criterion.bench_function("record of a batch", |bench| {
        bench.iter(|| {
            queue.batch_size.observe(black_box(17.0));
            let times = black_box(StoreTimes::default());
            queue.stages.observe((0..17).map(|_| times));
            metrics.query_took(
                QueryName::GetOrders,
                black_box(std::time::Duration::from_micros(300)),
            );
        });
    });
}

criterion_group!(benches, record);
criterion_main!(benches);
