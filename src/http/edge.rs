//! The outermost middleware. It opens the access record and the context of a request, catches panics, turns
//! every error into a problem, and sets the headers that every response has.

mod in_flight;

use std::future::{Future, Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready as poll_ready};

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::{Method, Version};
use actix_web::{Error, HttpMessage as _};
use pin_project_lite::pin_project;

use super::activity::{Activity, RequestGuard};
use super::path::{self, PathTemplate};
use super::problem::Problem;
use super::problem::kind::ProblemKind;
use super::request::context::{RequestContext, request_id};
use super::request::limits::check_head;
use super::request::traceparent::traceparent;
use super::response::outgoing::Outgoing;
use super::state::HttpState;
use crate::access::{Principal, Scopes};
use crate::telemetry::Recorder;
use in_flight::InFlight;

/// The outermost middleware, for one worker.
#[derive(Clone)]
pub(crate) struct Edge {
    http: Rc<HttpState>,
    recorder: Recorder,
    anonymous: Arc<Principal>,
}

impl Edge {
    /// Creates an edge for one worker.
    pub(crate) fn new(http: HttpState, recorder: Recorder) -> Self {
        let http = HttpState {
            // Each request locks the token to read it. With child tokens, the workers do not share the lock.
            drain: http.drain.child_token(),
            ..http
        };
        Self {
            http: Rc::new(http),
            recorder,
            anonymous: Arc::new(Principal::anonymous(Scopes::ALL)),
        }
    }
}

impl<S, B> Transform<S, ServiceRequest> for Edge
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<Outgoing<EitherBody<B>>>;
    type Error = Error;
    type InitError = ();
    type Transform = EdgeService<S>;
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(EdgeService {
            edge: self.clone(),
            service,
        }))
    }
}

/// [`Edge`] around one service.
pub(crate) struct EdgeService<S> {
    edge: Edge,
    service: S,
}

impl<S, B> Service<ServiceRequest> for EdgeService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<Outgoing<EitherBody<B>>>;
    type Error = Error;
    type Future = EdgeFuture<S::Future, B>;

    actix_web::dev::forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let guard = request.conn_data::<Rc<Activity>>().map(Activity::begin);
        let id = request_id(request.headers());
        let uri = request.uri().clone();
        let mut template = path::route(self.edge.http.templates, &mut request);
        let mut method = method_label(request.method());
        let mut rejected = None;
        if let Some(activity) = guard.as_ref().map(RequestGuard::activity) {
            if let Some(head) = activity.take_rejected_head() {
                if !head.readable {
                    (method, template) = ("other", &PathTemplate::UNMATCHED);
                }
                rejected = Some(head.problem);
            } else if activity.is_overflow() && !template.is_probe {
                let problem = Problem::new(ProblemKind::Overloaded, TOO_MANY_CONNECTIONS);
                rejected = Some(problem);
            }
        }
        let mut record = self.edge.recorder.open(
            method,
            template.template,
            uri.clone(),
            Rc::clone(&id),
            traceparent(request.headers()).map(str::to_owned),
        );
        record.set_caller(Arc::clone(&self.edge.anonymous.caller));
        let context = RequestContext::new(
            template.template,
            Arc::clone(&self.edge.anonymous),
            self.edge.http.request_timeout,
        );
        request.extensions_mut().insert(context);
        let http_1_0 = request.version() < Version::HTTP_11;
        let inner = match rejected.map_or_else(|| check_head(&request), Err) {
            Err(problem) => Err(problem),
            // A handler may panic before its future exists. The panic hook logs it.
            Ok(()) => catch_unwind(AssertUnwindSafe(|| self.service.call(request)))
                .map_err(|_| ProblemKind::Internal.into()),
        };
        let (inner, rejected) = match inner {
            Ok(future) => (Some(future), None),
            Err(problem) => (None, Some(problem)),
        };
        EdgeFuture {
            inner,
            rejected,
            response: None,
            in_flight: Some(InFlight {
                guard,
                http: Rc::clone(&self.edge.http),
                record,
                id,
                uri,
                is_probe: template.is_probe,
                http_1_0,
                polls: 0,
            }),
        }
    }
}

const TOO_MANY_CONNECTIONS: &str = "Too many clients are connected. Try again later.";

pin_project! {
    /// A request that [`Edge`] processes.
    pub(crate) struct EdgeFuture<F, B> {
        #[pin]
        inner: Option<F>,
        // The response to a rejected request, for which there is no future.
        rejected: Option<Problem>,
        // The response of the handler, while the rest of the request is received.
        response: Option<Result<ServiceResponse<B>, Error>>,
        in_flight: Option<InFlight>,
    }
}

impl<F, B> Future for EdgeFuture<F, B>
where
    F: Future<Output = Result<ServiceResponse<B>, Error>>,
    B: MessageBody + 'static,
{
    type Output = Result<ServiceResponse<Outgoing<EitherBody<B>>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match (this.response.take(), this.inner.as_pin_mut()) {
            (Some(response), _) => response,
            (None, None) => Err(this
                .rejected
                .take()
                .unwrap_or(ProblemKind::Internal.into())
                .into()),
            (None, Some(inner)) => match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
                Ok(poll) => poll_ready!(poll),
                Err(_) => Err(Problem::from(ProblemKind::Internal).into()),
            },
        };
        let Some(mut in_flight) = this.in_flight.take() else {
            // The future is not polled again after it has completed.
            return Poll::Ready(Err(Problem::from(ProblemKind::Internal).into()));
        };
        let status = match &response {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        if in_flight.waits_for_body(status) {
            *this.response = Some(response);
            *this.in_flight = Some(in_flight);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(match response {
            Ok(response) => Ok(in_flight.finish(response)),
            // The service that failed has dropped the request. Actix sends the response of the error.
            Err(error) => {
                let problem = in_flight.problem(
                    error.as_error::<Problem>(),
                    error.as_response_error().status_code(),
                );
                let problem = problem.map_body(|_, body| BoxBody::new(in_flight.send(body)));
                Err(actix_web::error::InternalError::from_response(error, problem).into())
            }
        })
    }
}

/// The method as a label. Clients may invent methods, which must not become labels.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        "CONNECT" => "CONNECT",
        _ => "other",
    }
}

#[cfg(test)]
mod tests;
