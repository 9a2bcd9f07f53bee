//! Processes of the database server end or stop.

use std::time::{Duration, Instant};

use super::{Expected, run};
use crate::support::binary::kill;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_server_processes_are_terminated() {
    let expected = Expected::perhaps_unnoticed("all server processes terminated");
    run(expected, async |scene, duration| {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            scene.terminate_server_processes().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn fast_restart_of_the_database() {
    run(Expected::noticed("fast restart"), async |scene, _| {
        scene.cluster.shut_down();
        scene.cluster.start_again();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn one_server_process_stops() {
    run(
        Expected::noticed("SIGSTOP of one server process").for_half_a_minute(),
        async |scene, duration| {
            let process = scene.last_server_process().await;
            kill(process, libc::SIGSTOP);
            tokio::time::sleep(duration).await;
            kill(process, libc::SIGCONT);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_server_processes_stop() {
    run(
        Expected::noticed("SIGSTOP of all server processes").for_half_a_minute(),
        async |scene, duration| {
            scene.cluster.signal(libc::SIGSTOP);
            tokio::time::sleep(duration).await;
            scene.cluster.signal(libc::SIGCONT);
        },
    )
    .await;
}
