//! Parses the values of settings.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// The maximum duration of any setting. Much longer durations overflow PostgreSQL's integers of milliseconds.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60 * 20);

/// A value is invalid. The message describes the values that the setting takes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ValueError {
    #[error("takes a duration such as 5s, 300ms or 30m, at most 20 days")]
    Duration,
    #[error("takes a duration of at least 1ms, such as 5s, 300ms or 30m")]
    PositiveDuration,
    #[error("takes a duration such as 36h, 90d or 2y, from 1h to 100y")]
    Retention,
    #[error("takes a whole number of at least 1")]
    AtLeastOne,
    #[error("takes a whole number from 1 to 1000000")]
    Rate,
    #[error("takes a whole number")]
    WholeNumber,
    #[error("takes an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:0")]
    SocketAddress,
    #[error("takes a level (error, warn, info, debug, trace) or target=level items: {0}")]
    LogFilter(#[source] env_filter::ParseError),
}

pub(super) fn any_duration(text: &str) -> Result<Duration, ValueError> {
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| *duration <= MAX_DURATION)
        .ok_or(ValueError::Duration)
}

pub(super) fn positive_duration(text: &str) -> Result<Duration, ValueError> {
    let duration = any_duration(text)?;
    if duration < Duration::from_millis(1) {
        return Err(ValueError::PositiveDuration);
    }
    Ok(duration)
}

/// How long data is kept.
pub(super) fn retention(text: &str) -> Result<Duration, ValueError> {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    const CENTURY: Duration = Duration::from_secs(60 * 60 * 24 * 36_525);
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| (HOUR..=CENTURY).contains(duration))
        .ok_or(ValueError::Retention)
}

pub(super) fn at_least_one(text: &str) -> Result<NonZeroUsize, ValueError> {
    text.parse().map_err(|_| ValueError::AtLeastOne)
}

/// A rate in requests per second, or a burst of requests.
pub(super) fn rate(text: &str) -> Result<NonZeroU32, ValueError> {
    text.parse()
        .ok()
        .filter(|rate: &NonZeroU32| rate.get() <= 1_000_000)
        .ok_or(ValueError::Rate)
}

pub(super) fn whole_number(text: &str) -> Result<usize, ValueError> {
    text.parse().map_err(|_| ValueError::WholeNumber)
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, ValueError> {
    text.parse().map_err(|_| ValueError::SocketAddress)
}

pub(super) fn log_filter(text: &str) -> Result<String, ValueError> {
    if text.trim().is_empty() {
        // An empty variable counts as unset. An empty filter would log nothing.
        return Ok("info".to_owned());
    }
    env_filter::Builder::new()
        .try_parse(text)
        .map(|_| text.to_owned())
        .map_err(ValueError::LogFilter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(any_duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(any_duration("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(any_duration("0s"), Ok(Duration::ZERO));
        for bad in ["", "5", "-1s", "five", "99999999days"] {
            assert!(any_duration(bad).is_err(), "{bad:?}");
        }
        assert!(positive_duration("0s").is_err());
    }

    #[test]
    fn rates() {
        assert_eq!(rate("1").map(NonZeroU32::get), Ok(1));
        assert_eq!(rate("1000000").map(NonZeroU32::get), Ok(1_000_000));
        for bad in ["0", "-1", "0.5", "1000001", ""] {
            assert_eq!(rate(bad), Err(ValueError::Rate), "{bad:?}");
        }
    }

    #[test]
    fn filters() {
        assert!(log_filter("warn,order_service::access=debug").is_ok());
        assert!(log_filter("order_service=loud").is_err());
    }
}
