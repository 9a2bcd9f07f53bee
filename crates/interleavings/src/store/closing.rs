//! The end of the process: the store is closed while requests may still arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool as Plain, Ordering::Relaxed};
use std::time::Duration;

use order_service::telemetry::Metrics;
use shuttle::future::block_on;
use shuttle::thread;

use crate::domain::Caller;
use crate::explore;
use crate::store::admission::{Admission, RequestKind};

/// If closing reports that the store was empty, no request was in it then, and none enters later.
pub fn nothing_is_admitted_after_a_close_that_found_the_store_empty() {
    let metrics = Metrics::new().unwrap();
    explore(move || {
        let admission = Admission::new(8, metrics.queue("test"));
        // Nobody waits for the end of this one, so its notification is kept until the store is closed.
        drop(admission.acquire(&Caller::anonymous(), RequestKind::Write, 0));
        let closed = Arc::new(Plain::new(false));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (admission, closed) = (admission.clone(), Arc::clone(&closed));
                thread::spawn(move || {
                    let caller = Caller::anonymous();
                    // Several, so that some begin while the store is found empty and is not closed yet.
                    for _ in 0..4 {
                        let Ok(permit) = admission.acquire(&caller, RequestKind::Write, 0) else {
                            return;
                        };
                        // The work of the request.
                        for _ in 0..4 {
                            thread::yield_now();
                        }
                        assert!(!closed.load(Relaxed), "the work would be lost");
                        drop(permit);
                    }
                })
            })
            .collect();
        let empty = block_on(admission.close(Duration::from_secs(7_200)));
        assert!(empty);
        closed.store(true, Relaxed);
        for thread in threads {
            thread.join().unwrap();
        }
        let late = admission.acquire(&Caller::anonymous(), RequestKind::Get, 0);
        assert!(late.is_err());
    });
}
