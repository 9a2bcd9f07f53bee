//! How many connections the process can hold.

use rustix::process::{Resource, getrlimit};

use super::slots::OVERFLOW;
use crate::config::Settings;

/// Descriptors for everything else: files, the runtime, both listeners, the metrics server.
const OTHERS: usize = 160;

/// `MAX_CONNECTIONS`, or fewer if there are not enough file descriptors for them.
pub(super) fn connections(settings: &Settings) -> usize {
    let wanted = settings.max_connections.get();
    let descriptors = getrlimit(Resource::Nofile).current;
    let Some(descriptors) = descriptors.and_then(|limit| usize::try_from(limit).ok()) else {
        return wanted;
    };
    let possible = possible(descriptors, settings.pool_max_size.get());
    if possible < wanted {
        log::warn!(
            max_connections = possible, wanted, descriptors;
            "the limit of file descriptors allows fewer connections than MAX_CONNECTIONS"
        );
    }
    possible.min(wanted)
}

/// Idle connections that close for new ones, and those beyond the limit, need descriptors as well.
fn possible(descriptors: usize, pool: usize) -> usize {
    descriptors
        .saturating_sub(OTHERS + 2 * OVERFLOW)
        .saturating_sub(pool.saturating_mul(2))
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_limit_of_a_shell_leaves_hundreds() {
        assert_eq!(possible(1_024, 20), 696);
        assert_eq!(possible(100, 20), 1);
        assert_eq!(possible(1_048_576, 20), 1_048_248);
    }
}
