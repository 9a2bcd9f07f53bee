//! The number of client connections that the process can hold.

use rustix::process::{Resource, getrlimit};

use crate::config::Settings;
use crate::http::connection::ConnectionLimits;
use crate::http::connection::slots::OVERFLOW;

/// File descriptors for files, both listeners and the main runtime.
const OTHER_DESCRIPTORS: usize = 24;
/// File descriptors for the runtime of one worker.
const WORKER_DESCRIPTORS: usize = 4;
/// Connections of the metrics server: for a few Prometheus servers and a user.
const METRICS_CONNECTIONS: usize = 64;
/// With fewer overflow connections, silent clients could occupy all of them, and probes would be rejected.
const MIN_OVERFLOW: usize = 4;

/// The limits of both servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) api: ConnectionLimits,
    pub(crate) metrics: ConnectionLimits,
}

/// Returns limits for `MAX_CONNECTIONS`, or for fewer connections if there are not enough file descriptors.
pub(crate) fn limits(settings: &Settings) -> Limits {
    let wanted = settings.max_connections.get();
    let current = getrlimit(Resource::Nofile).current;
    let descriptors = current.and_then(|limit| usize::try_from(limit).ok());
    let descriptors = descriptors.unwrap_or(usize::MAX);
    let workers = settings.workers().saturating_mul(WORKER_DESCRIPTORS);
    let others = settings.pool_max_size.get().saturating_mul(2);
    let others = others
        .saturating_add(OTHER_DESCRIPTORS)
        .saturating_add(workers);
    let (mut limits, fits) = possible(descriptors, others);
    let possible = limits.api.served;
    if !fits {
        log::warn!(
            max_connections = possible, wanted, descriptors;
            "the limit of file descriptors is too low for the pool of database connections and a few \
             clients: connections will fail"
        );
    } else if possible < wanted {
        log::warn!(
            max_connections = possible, wanted, descriptors;
            "the limit of file descriptors allows fewer connections than MAX_CONNECTIONS"
        );
    }
    limits.api.served = possible.min(wanted);
    limits
}

/// Returns the limits that `descriptors` file descriptors allow, of which `others` are needed for other purposes,
/// and whether they suffice.
fn possible(descriptors: usize, others: usize) -> (Limits, bool) {
    let free = descriptors.saturating_sub(others);
    let overflow = (free / 14).clamp(MIN_OVERFLOW, OVERFLOW);
    let metrics = ConnectionLimits {
        served: overflow.min(METRICS_CONNECTIONS),
        overflow: overflow / 4,
    };
    // Overflow connections, and the connections within and above the limit that close for new ones.
    let beyond = |overflow: usize| overflow.saturating_mul(3);
    let needed = beyond(overflow) + metrics.served + beyond(metrics.overflow);
    let served = free.saturating_sub(needed);
    let api = ConnectionLimits {
        served: served.max(1),
        overflow,
    };
    (Limits { api, metrics }, served > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_limit_of_a_shell_allows_hundreds() {
        let limits = |descriptors| {
            let (limits, fits) = possible(descriptors, 72);
            (limits.api.served, limits.api.overflow, fits)
        };
        assert_eq!(limits(1_024), (648, 64, true));
        assert_eq!(limits(1_048_576), (1_048_200, 64, true));
        assert_eq!(limits(100), (9, 4, true));
        assert_eq!(limits(64), (1, 4, false));
    }

    #[test]
    fn all_connections_together_need_no_more_descriptors_than_there_are() {
        for descriptors in 100..3_000 {
            let (Limits { api, metrics }, fits) = possible(descriptors, 72);
            let all = api.served + 3 * api.overflow + metrics.served + 3 * metrics.overflow;
            assert!(fits && all + 72 <= descriptors, "{descriptors}");
        }
    }
}
