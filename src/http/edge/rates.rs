//! The rate limits of principals, and of addresses with failed authentication (`RATE_LIMIT`).

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::Caller;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::shares::RateLimits;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// Seconds until a caller may send another request. `RATE_LIMIT` is at least one request per second. `Retry-After` of
/// each 429 has the same value.
const NEXT: u32 = 1;
const TOO_FAST: &str = "The caller sends requests faster than RATE_LIMIT allows. Try again later.";
const TOO_MANY_FAILURES: &str = "Too many requests from this address had credentials that could not be verified. Try again later.";

/// The limits of one process. Clones share them.
///
/// # Verification comes first
/// A valid credential is served whatever its address has done before, because one address may stand for many clients
/// behind a proxy. So each credential is verified, and only its failure counts. This bounds how fast credentials can be
/// guessed, and the lines of the log, not the work of the verification. The work is bounded by the connections: each
/// has one request at a time. A hash or a signature costs no more than serving a request, and a token whose issuer, key
/// or algorithm is unknown is rejected before its signature is verified.
#[derive(Clone, Debug)]
pub(crate) struct Rates {
    principals: RateLimits<Arc<str>>,
    failures: RateLimits<Network>,
    policy: HeaderValue,
}

/// The addresses that one client can use. The owner of an IPv6 network has at least a /64 (RFC 6177), and can use
/// another address for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments().map(u64::from);
                Self::V6(a << 48 | b << 32 | c << 16 | d)
            }
        }
    }
}

/// The number of requests that a principal may still send at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remaining(u32);

impl Rates {
    /// Permits each principal `burst` requests at once and `rate` requests per second, and each network as many
    /// requests with rejected credentials.
    pub(crate) fn new(burst: NonZeroU32, rate: NonZeroU32) -> Self {
        // The time in which the whole burst becomes available again, rounded up.
        let window = burst.get().div_ceil(rate.get());
        let policy = format!("\"default\";q={burst};w={window}");
        Self {
            principals: RateLimits::new(burst, rate),
            failures: RateLimits::new(burst, rate),
            policy: HeaderValue::from_str(&policy)
                .unwrap_or_else(|_| HeaderValue::from_static("\"default\";q=0")),
        }
    }

    /// Counts a request of a caller.
    ///
    /// # Errors
    /// A problem if the caller exceeds its rate.
    pub(super) fn check(&self, caller: &Caller) -> Result<Remaining, Problem> {
        let remaining = self.principals.check(&caller.id).map(Remaining);
        remaining.ok_or_else(|| Problem::new(ProblemKind::RateLimited, TOO_FAST))
    }

    /// Counts a request with a rejected credential.
    ///
    /// # Errors
    /// A problem if there were too many from the same network.
    pub(super) fn count_failure(&self, peer: SocketAddr) -> Result<(), Problem> {
        let permitted = self.failures.check(&peer.ip().into()).map(drop);
        permitted.ok_or_else(|| Problem::new(ProblemKind::RateLimited, TOO_MANY_FAILURES))
    }

    /// Sets the headers `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4).
    ///
    /// Both are Lists of Items of Structured Fields (RFC 9651), whose value is the name of the policy, a String. The
    /// parameters of the policy are `q`, "the quota allocated by this policy measured in quota units" (here the burst),
    /// and `w`, "a time window" in seconds (here the time in which the whole burst is available again). Those of the
    /// limit are `r`, "the remaining quota units", and `t`, "the number of seconds until additional quota associated
    /// with the quota policy is made available". `Retry-After` must not be earlier than `t` (section 6). Servers may
    /// send both headers with each response, and clients can then pace themselves.
    pub(super) fn set_headers(&self, remaining: Remaining, headers: &mut HeaderMap) {
        headers.insert(RATELIMIT_POLICY, self.policy.clone());
        let limit = format!("\"default\";r={};t={}", remaining.0, NEXT);
        if let Ok(limit) = HeaderValue::from_str(&limit) {
            headers.insert(RATELIMIT, limit);
        }
    }
}

impl Remaining {
    /// Of a request that exceeds the rate.
    pub(super) const NONE: Self = Self(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positive(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    #[test]
    fn the_headers_name_the_policy_and_what_is_left_of_it() {
        for (burst, rate, policy) in [
            (100, 50, "\"default\";q=100;w=2"),
            (5, 50, "\"default\";q=5;w=1"),
            (101, 50, "\"default\";q=101;w=3"),
        ] {
            let rates = Rates::new(positive(burst), positive(rate));
            let remaining = rates.check(&Caller::anonymous()).unwrap();
            let mut headers = HeaderMap::new();
            rates.set_headers(remaining, &mut headers);
            assert_eq!(headers.get("ratelimit-policy").unwrap(), policy);
            let limit = format!("\"default\";r={};t=1", burst - 1);
            assert_eq!(headers.get("ratelimit").unwrap(), limit.as_str());
        }
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_share_a_limit() {
        let rates = Rates::new(positive(1), positive(1));
        let count = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            rates.count_failure((address, 1).into()).is_ok()
        };
        assert!(count("2001:db8:1:2::1") && !count("2001:db8:1:2:ffff::9"));
        assert!(count("2001:db8:1:3::1"));
        assert!(count("192.0.2.1") && count("192.0.2.2"));
        assert!(!count("::ffff:192.0.2.1"), "an IPv4 address in IPv6 form");
    }
}
