//! The TCP options that a URL sets (`keepalives…`, `tcp_user_timeout`).

use std::time::Duration;

use super::{Parameters, UrlError};

/// Options of a TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SocketOptions {
    pub(crate) keepalive: Option<Keepalive>,
    /// How long sent bytes may stay unacknowledged. `None` leaves it to the kernel.
    pub(crate) user_timeout: Option<Duration>,
}

/// When the kernel probes a peer that is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keepalive {
    pub(crate) idle: Duration,
    pub(crate) interval: Duration,
    pub(crate) count: u32,
}

/// With these defaults, a peer that has vanished is detected after about 20 s.
const USER_TIMEOUT: Duration = Duration::from_secs(20);
const KEEPALIVE: Keepalive = Keepalive {
    idle: Duration::from_secs(10),
    interval: Duration::from_secs(3),
    count: 3,
};

impl SocketOptions {
    pub(super) fn read(given: &mut Parameters) -> Result<Self, UrlError> {
        // The second name is that of tokio-postgres.
        let count = given.take_number("keepalives_count")?;
        let count = count.or(given.take_number("keepalives_retries")?);
        let keepalive = Keepalive {
            idle: seconds(given, "keepalives_idle")?.unwrap_or(KEEPALIVE.idle),
            interval: seconds(given, "keepalives_interval")?.unwrap_or(KEEPALIVE.interval),
            count: count.filter(|count| *count > 0).unwrap_or(KEEPALIVE.count),
        };
        let user_timeout = match given.take_number("tcp_user_timeout")? {
            None => Some(USER_TIMEOUT),
            Some(0) => None,
            Some(milliseconds) => Some(Duration::from_millis(milliseconds.into())),
        };
        Ok(Self {
            keepalive: (given.take_number("keepalives")? != Some(0)).then_some(keepalive),
            user_timeout,
        })
    }
}

/// Takes a time in seconds. 0 counts as absent.
pub(super) fn seconds(
    given: &mut Parameters,
    name: &'static str,
) -> Result<Option<Duration>, UrlError> {
    let seconds = given.take_number(name)?.filter(|seconds| *seconds > 0);
    Ok(seconds.map(|seconds| Duration::from_secs(seconds.into())))
}
