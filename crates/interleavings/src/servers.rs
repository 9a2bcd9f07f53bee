//! The slots of database servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Plain, Ordering::Relaxed};

use shuttle::future::block_on;

use crate::concurrency::spawn;
use crate::explore;
use crate::server_slots::{Address, Purpose, Slots};

fn address(port: u16) -> Address {
    Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Servers without connections are removed from the table while others are used. A server that is removed too early
/// would get new slots besides those in use.
pub fn a_server_never_has_more_connections_than_slots() {
    explore(|| {
        let slots = Arc::new(Slots::new(1));
        let open: [Arc<Plain>; 3] = Default::default();
        let tasks: Vec<_> = (0..4_u16)
            .map(|number| {
                let slots = Arc::clone(&slots);
                let open = open.clone();
                spawn(async move {
                    for step in 0..2 {
                        let port = (number + step) % 3;
                        let open = &open[usize::from(port)];
                        let slot = slots.acquire(Purpose::Pool, &address(port)).await.unwrap();
                        assert_eq!(open.fetch_add(1, Relaxed), 0, "two connections");
                        shuttle::future::yield_now().await;
                        open.fetch_sub(1, Relaxed);
                        drop(slot);
                    }
                })
            })
            .collect();
        for task in tasks {
            block_on(task).unwrap();
        }
    });
}
