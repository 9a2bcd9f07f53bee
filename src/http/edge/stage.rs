//! The stages of a request at the edge.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::dev::{Service, ServiceRequest};
use actix_web::{Error, HttpMessage as _};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::authorization::Verification;
use super::in_flight::InFlight;
use crate::access::Principal;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::http::request::context::RequestContext;

pin_project! {
    /// The stage of a request.
    #[project = StageProjection]
    pub(super) enum Stage<S>
    where
        S: Service<ServiceRequest>,
    {
        // The service processes the request.
        Running { #[pin] future: S::Future },
        // The response exists without a call of the service. `None` once it is taken.
        Rejected { problem: Option<Problem> },
        // The request waits for its authentication. Boxed, so that other requests reserve no space for it.
        Waiting { waiting: Box<(Verification, Option<Call<S>>)> },
    }
}

/// A call of the service that has not been made.
pub(super) struct Call<S> {
    pub(super) service: Rc<S>,
    pub(super) request: ServiceRequest,
    pub(super) template: &'static str,
    pub(super) id: Rc<str>,
    pub(super) deadline: Instant,
}

impl<S: Service<ServiceRequest>> Call<S> {
    /// Calls the service for a principal that may make the request, unless it exceeds its rate.
    pub(super) fn start_for(self, principal: Arc<Principal>, in_flight: &mut InFlight) -> Stage<S> {
        match in_flight.authorize(&principal.caller) {
            Ok(()) => self.start(principal),
            Err(problem) => Stage::rejected(problem),
        }
    }

    /// Calls the service. A handler may panic before its future exists. The panic hook logs it.
    pub(super) fn start(self, principal: Arc<Principal>) -> Stage<S> {
        let context = RequestContext::new(self.template, self.id, principal, self.deadline);
        self.request.extensions_mut().insert(context);
        match catch_unwind(AssertUnwindSafe(|| self.service.call(self.request))) {
            Ok(future) => Stage::Running { future },
            Err(_) => Stage::rejected(ProblemKind::Internal.into()),
        }
    }
}

impl<S: Service<ServiceRequest>> Stage<S> {
    pub(super) fn rejected(problem: Problem) -> Self {
        let problem = Some(problem);
        Self::Rejected { problem }
    }

    pub(super) fn waiting(verification: Verification, call: Call<S>) -> Self {
        let waiting = Box::new((verification, Some(call)));
        Self::Waiting { waiting }
    }
}

impl<S: Service<ServiceRequest, Error = Error>> Stage<S> {
    /// Polls the request until it has a response. Admits its caller when that is verified.
    pub(super) fn poll(
        mut self: Pin<&mut Self>,
        in_flight: Option<&mut InFlight>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, Error>> {
        if let StageProjection::Waiting { waiting } = self.as_mut().project() {
            let (verification, call) = &mut **waiting;
            let verified = ready!(verification.as_mut().poll(cx));
            let next = match (verified, call.take(), in_flight) {
                (Ok(principal), Some(call), Some(in_flight)) => {
                    call.start_for(principal, in_flight)
                }
                (Err(rejection), _, Some(in_flight)) => Self::rejected(in_flight.reject(rejection)),
                // A call is taken once, when its verification has ended, and the request is in flight until then.
                (Ok(_), ..) | (Err(_), _, None) => Self::rejected(ProblemKind::Internal.into()),
            };
            self.set(next);
        }
        match self.project() {
            StageProjection::Running { future } => {
                catch_unwind(AssertUnwindSafe(|| future.poll(cx)))
                    .unwrap_or_else(|_| Poll::Ready(Err(internal())))
            }
            StageProjection::Rejected { problem } => {
                Poll::Ready(Err(problem.take().map_or_else(internal, Error::from)))
            }
            StageProjection::Waiting { .. } => Poll::Ready(Err(internal())),
        }
    }
}

fn internal() -> Error {
    Problem::from(ProblemKind::Internal).into()
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use actix_web::HttpResponse;
    use actix_web::dev::ServiceResponse;

    use super::*;

    struct Nothing;

    impl Service<ServiceRequest> for Nothing {
        type Response = ServiceResponse;
        type Error = Error;
        type Future = Ready<Result<ServiceResponse, Error>>;

        actix_web::dev::always_ready!();

        fn call(&self, request: ServiceRequest) -> Self::Future {
            ready(Ok(request.into_response(HttpResponse::Ok())))
        }
    }

    #[test]
    fn a_request_reserves_no_space_for_waiting() {
        let others = size_of::<<Nothing as Service<ServiceRequest>>::Future>()
            .max(size_of::<Option<Problem>>());
        assert!(size_of::<Stage<Nothing>>() <= others + size_of::<usize>());
    }
}
