//! Decides whether a request may be served.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use tokio::time::{Instant, timeout_at};

use super::rates::{Rates, Remaining};
use crate::access::{Authentication, Authenticator, Principal, Rejected, Requirement, Scope};
use crate::domain::Caller;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::http::route::Resource;

/// The names of this host. A page of another site can make a browser on this host send requests here, by a DNS name
/// that resolves to a loopback address (DNS rebinding). Their `Host` is that name.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// The challenge of every 401 (RFC 6750, section 3).
const CHALLENGE: &str = "Bearer realm=\"order-service\"";
const TWO_CREDENTIALS: &str = "A request must have at most one Authorization header.";
const INVALID: &str = "The credentials are not valid.";
const TENANT: &str = "The token names no tenant, or an invalid one.";
const NOT_LOCAL: &str = "This service serves local clients only: Host must be localhost, 127.0.0.1 or [::1]. \
    With AUTH_FILE or AUTH_ANONYMOUS it takes any Host.";

/// Whether a request may be served.
pub(super) enum Authorization {
    /// It needs no principal.
    Open,
    /// This principal has the scope that it needs.
    Authorized(Arc<Principal>),
    /// It is not served.
    Rejected(Rejection),
    /// The keys that verify its token are needed first.
    Waiting(Verification),
}

/// A request that is not served.
pub(super) struct Rejection {
    /// The response.
    pub(super) problem: Problem,
    /// Who makes the request, if that is verified. The request counts against the rate of this caller.
    pub(super) caller: Option<Arc<Caller>>,
    /// What is left of the rate of failed authentication, if it is exceeded.
    pub(super) remaining: Option<Remaining>,
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            caller: None,
            remaining: None,
        }
    }
}

/// The verification of a token whose keys are not available yet.
pub(super) type Verification = Pin<Box<dyn Future<Output = Result<Arc<Principal>, Rejection>>>>;

/// Authenticates a request and checks its scope. It may wait for keys until `deadline`.
pub(super) fn authorize(
    authenticator: &Rc<Authenticator>,
    rates: Option<&Rates>,
    request: &ServiceRequest,
    resource: &Resource,
    deadline: Instant,
    id: &Rc<str>,
) -> Authorization {
    let open = authenticator.is_open();
    if open && !resource.path.is_probe && !is_local(request) {
        return Authorization::Rejected(Problem::new(ProblemKind::Forbidden, NOT_LOCAL).into());
    }
    let Requirement::Scope(scope) = resource.requirement(request.method()) else {
        return Authorization::Open;
    };
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let header = headers.next().filter(|_| !open);
    if header.is_some() && headers.next().is_some() {
        let problem = Problem::new(ProblemKind::MalformedRequest, TWO_CREDENTIALS);
        return Authorization::Rejected(problem.into());
    }
    let Some(header) = header else {
        return anonymous(authenticator, scope);
    };
    let check = Check {
        authenticator,
        rates,
        scope,
        peer: request.peer_addr(),
        id,
    };
    match authenticator.authenticate(header.as_bytes()) {
        Authentication::Done(result) => match check.finish(result) {
            Ok(principal) => Authorization::Authorized(principal),
            Err(rejection) => Authorization::Rejected(rejection),
        },
        Authentication::Waiting(pending) => {
            let (authenticator, id, peer) = (Rc::clone(authenticator), Rc::clone(id), check.peer);
            let rates = rates.cloned();
            Authorization::Waiting(Box::pin(async move {
                let result = timeout_at(deadline, pending.verify()).await;
                let check = Check {
                    authenticator: &authenticator,
                    rates: rates.as_ref(),
                    scope,
                    peer,
                    id: &id,
                };
                check.finish(result.unwrap_or(Err(Rejected::KeysUnavailable)))
            }))
        }
    }
}

fn anonymous(authenticator: &Authenticator, scope: Scope) -> Authorization {
    let principal = authenticator.anonymous();
    if principal.may(scope) {
        authenticator.count_accepted(principal);
        return Authorization::Authorized(Arc::clone(principal));
    }
    authenticator.record_missing();
    let problem = Problem::from(ProblemKind::Unauthenticated);
    Authorization::Rejected(problem.with_header(WWW_AUTHENTICATE, CHALLENGE).into())
}

/// The check of a credential that has been verified.
struct Check<'a> {
    authenticator: &'a Authenticator,
    rates: Option<&'a Rates>,
    scope: Scope,
    peer: Option<SocketAddr>,
    id: &'a str,
}

impl Check<'_> {
    /// Returns the principal if its credential is accepted and it has the scope, and records the outcome.
    fn finish(
        &self,
        result: Result<Arc<Principal>, Rejected>,
    ) -> Result<Arc<Principal>, Rejection> {
        let principal = result.map_err(|reason| self.rejected(reason))?;
        if principal.may(self.scope) {
            self.authenticator.count_accepted(&principal);
            return Ok(principal);
        }
        self.authenticator
            .record_forbidden(&principal, self.scope, &self.peer(), self.id);
        Err(Rejection {
            problem: self.forbidden(ProblemKind::Forbidden.into()),
            caller: Some(Arc::clone(&principal.caller)),
            remaining: None,
        })
    }

    fn rejected(&self, reason: Rejected) -> Rejection {
        self.authenticator
            .record_rejected(reason, &self.peer(), self.id);
        // A token whose keys are not available counts as well, because anyone can make one, and each response of 503
        // is a warning in the log.
        if let (Some(rates), Some(peer)) = (self.rates, self.peer)
            && let Err(problem) = rates.count_failure(peer)
        {
            return Rejection {
                problem,
                caller: None,
                remaining: Some(Remaining::NONE),
            };
        }
        let problem = match reason {
            Rejected::KeysUnavailable => ProblemKind::KeysUnavailable.into(),
            Rejected::Tenant => self.forbidden(Problem::new(ProblemKind::Forbidden, TENANT)),
            // The client has not tried to send a token (RFC 6750, section 3.1).
            Rejected::Scheme => {
                Problem::from(ProblemKind::Unauthenticated).with_header(WWW_AUTHENTICATE, CHALLENGE)
            }
            // The reason is in the log only. It could help an attacker.
            Rejected::Malformed
            | Rejected::UnknownKey
            | Rejected::ExpiredKey
            | Rejected::Token(_) => Problem::new(ProblemKind::Unauthenticated, INVALID)
                .with_header(
                    WWW_AUTHENTICATE,
                    format!("{CHALLENGE}, error=\"invalid_token\""),
                ),
        };
        problem.into()
    }

    fn forbidden(&self, problem: Problem) -> Problem {
        let scope = self.scope;
        let error = format!("{CHALLENGE}, error=\"insufficient_scope\", scope=\"{scope}\"");
        problem.with_header(WWW_AUTHENTICATE, error)
    }

    fn peer(&self) -> String {
        self.peer.map_or_else(String::new, |peer| peer.to_string())
    }
}

/// Whether a request names this host: in `Host`, and in its target if that has the absolute form (RFC 9112, section
/// 3.2.2). A request of HTTP/1.0 without either is not local.
fn is_local(request: &ServiceRequest) -> bool {
    let target = request.uri().authority();
    let target = target.map(|authority| authority.as_str().as_bytes());
    let hosts = request.headers().get_all(HOST);
    let mut names = target
        .into_iter()
        .chain(hosts.map(|host| host.as_bytes()))
        .peekable();
    names.peek().is_some() && names.all(is_local_name)
}

/// Whether a host with an optional port is one of [`LOCAL_NAMES`].
fn is_local_name(host: &[u8]) -> bool {
    LOCAL_NAMES.iter().any(|name| {
        host.split_at_checked(name.len())
            .is_some_and(|(host, port)| {
                let valid = match port {
                    [] => true,
                    [b':', port @ ..] => port.iter().all(u8::is_ascii_digit),
                    _ => false,
                };
                valid && host.eq_ignore_ascii_case(name.as_bytes())
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_host_are_local() {
        for (host, local) in [
            ("localhost", true),
            ("LocalHost:8080", true),
            ("127.0.0.1", true),
            ("127.0.0.1:0", true),
            ("[::1]", true),
            ("[::1]:8080", true),
            ("localhost:", true),
            ("", false),
            (":8080", false),
            ("localhost.evil.example", false),
            ("localhost:80.evil.example", false),
            ("localhost:80@evil.example", false),
            ("evil.example", false),
            ("localhost@evil.example", false),
            ("127.0.0.10", false),
            ("127.0.0.1.nip.io", false),
            ("[::1].evil.example", false),
            ("[::2]", false),
            ("::1", false),
        ] {
            assert_eq!(is_local_name(host.as_bytes()), local, "{host}");
        }
    }
}
