//! How many connections the process can hold.

use rustix::process::{Resource, getrlimit};

use crate::config::Settings;
use crate::http::connection::ConnectionLimits;
use crate::http::connection::slots::OVERFLOW;

/// Descriptors for files, both listeners and the main runtime.
const OTHERS: usize = 24;
/// Descriptors for the runtime of one worker.
const WORKER: usize = 4;
/// Connections of the metrics server: some Prometheus servers and a person.
const METRICS: usize = 64;
/// With fewer, silent clients could take every place beyond the limit from the probes.
const LEAST_OVERFLOW: usize = 4;

/// The limits of both servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) api: ConnectionLimits,
    pub(crate) metrics: ConnectionLimits,
}

/// `MAX_CONNECTIONS`, or fewer if there are not enough file descriptors for them.
pub(crate) fn limits(settings: &Settings) -> Limits {
    let wanted = settings.max_connections.get();
    let current = getrlimit(Resource::Nofile).current;
    let descriptors = current.and_then(|limit| usize::try_from(limit).ok());
    let descriptors = descriptors.unwrap_or(usize::MAX);
    let workers = settings.workers().saturating_mul(WORKER);
    let others = settings.pool_max_size.get().saturating_mul(2);
    let others = others.saturating_add(OTHERS).saturating_add(workers);
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

/// The most connections for so many descriptors, of which others need some, and whether they suffice.
fn possible(descriptors: usize, others: usize) -> (Limits, bool) {
    let free = descriptors.saturating_sub(others);
    let overflow = (free / 14).clamp(LEAST_OVERFLOW, OVERFLOW);
    let metrics = ConnectionLimits {
        served: overflow.min(METRICS),
        overflow: overflow / 4,
    };
    // Beyond the limit, and the idle and the silent ones that close for others.
    let around = |overflow: usize| overflow.saturating_mul(3);
    let needed = around(overflow) + metrics.served + around(metrics.overflow);
    let most = free.saturating_sub(needed);
    let api = ConnectionLimits {
        served: most.max(1),
        overflow,
    };
    (Limits { api, metrics }, most > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_limit_of_a_shell_leaves_hundreds() {
        let most = |descriptors| {
            let (limits, fits) = possible(descriptors, 72);
            (limits.api.served, limits.api.overflow, fits)
        };
        assert_eq!(most(1_024), (648, 64, true));
        assert_eq!(most(1_048_576), (1_048_200, 64, true));
        assert_eq!(most(100), (9, 4, true));
        assert_eq!(most(64), (1, 4, false));
    }

    #[test]
    fn everything_together_needs_no_more_than_there_is() {
        for descriptors in 100..3_000 {
            let (Limits { api, metrics }, fits) = possible(descriptors, 72);
            let all = api.served + 3 * api.overflow + metrics.served + 3 * metrics.overflow;
            assert!(fits && all + 72 <= descriptors, "{descriptors}");
        }
    }
}
