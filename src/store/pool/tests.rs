use diesel_async::AsyncPgConnection;

use super::*;

/// A database that takes connections and then says nothing.
struct Silent;

impl Connect for Silent {
    type Connection = AsyncPgConnection;

    async fn connect(&self) -> Result<AsyncPgConnection, StoreError> {
        std::future::pending().await
    }
}

/// The clock is Tokio's and jumps: five seconds are five seconds, however busy the machine is.
#[tokio::test(start_paused = true)]
async fn who_waits_is_told_after_the_acquire_timeout() {
    let limits = Limits {
        max_size: 1,
        min_idle: 0,
        acquire_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(300),
        max_lifetime: Duration::from_secs(1800),
    };
    let metrics = Arc::new(Metrics::new().unwrap());
    let pool = Pool::new(Arc::new(Silent), limits, metrics).unwrap();
    let wait = async || {
        let start = tokio::time::Instant::now();
        let refused = pool.get().await.err();
        (start.elapsed().as_secs_f64(), refused)
    };
    // One waits for its connection to open, the other for the place that the first holds.
    for (seconds, refused) in [tokio::join!(wait(), wait())].map(|(a, b)| [a, b]).concat() {
        assert!((seconds - 5.0).abs() < 0.2, "after {seconds} s");
        assert!(matches!(refused, Some(StoreError::Unavailable(_))));
    }
}
