//! The outermost middleware. It opens the access record and the context of a request, authorizes the request,
//! catches panics, turns every error into a problem, and sets the headers that every response has.

mod authorization;
mod in_flight;
pub(crate) mod rates;
mod stage;

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready as poll_ready};

use actix_web::Error;
use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::{Method, Version};
use pin_project_lite::pin_project;

use super::activity::{Activity, RequestGuard};
use super::problem::Problem;
use super::problem::kind::ProblemKind;
use super::request::context::request_id;
use super::request::limits::check_head;
use super::request::traceparent::traceparent;
use super::response::outgoing::Outgoing;
use super::route::{self, UNMATCHED};
use super::state::HttpState;
use crate::access::{Authenticator, Principal, Scopes};
use crate::telemetry::Recorder;
use authorization::{Authorization, authorize};
use in_flight::InFlight;
use stage::{Call, Stage};

/// The outermost middleware, for one worker.
#[derive(Clone)]
pub(crate) struct Edge {
    http: Rc<HttpState>,
    recorder: Recorder,
    /// `None` if every request is served.
    authenticator: Option<Rc<Authenticator>>,
    /// The principal of requests that need none.
    nobody: Arc<Principal>,
}

impl Edge {
    /// Creates an edge for one worker. Without an authenticator, it serves every request.
    pub(crate) fn new(
        http: HttpState,
        recorder: Recorder,
        authenticator: Option<Authenticator>,
    ) -> Self {
        let http = HttpState {
            // Each request locks the token to read it. With child tokens, the workers do not share the lock.
            drain: http.drain.child_token(),
            ..http
        };
        Self {
            http: Rc::new(http),
            recorder,
            authenticator: authenticator.map(Rc::new),
            nobody: Arc::new(Principal::anonymous(Scopes::NONE)),
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
            service: Rc::new(service),
        }))
    }
}

/// [`Edge`] around one service.
pub(crate) struct EdgeService<S> {
    edge: Edge,
    /// Shared with requests that wait for their authentication.
    service: Rc<S>,
}

impl<S, B> Service<ServiceRequest> for EdgeService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<Outgoing<EitherBody<B>>>;
    type Error = Error;
    type Future = EdgeFuture<S, B>;

    actix_web::dev::forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let guard = request.conn_data::<Rc<Activity>>().map(Activity::begin);
        let id = request_id(request.headers());
        let (mut resource, uri) = route::route(self.edge.http.resources, &mut request);
        let mut method = method_label(request.method());
        let mut rejected = None;
        if let Some(activity) = guard.as_ref().map(RequestGuard::activity) {
            if let Some(head) = activity.take_rejected_head() {
                if !head.readable {
                    (method, resource) = ("other", &UNMATCHED);
                }
                rejected = Some(head.problem);
            } else if activity.is_overflow() && !resource.path.is_probe {
                let problem = Problem::new(ProblemKind::Overloaded, TOO_MANY_CONNECTIONS);
                rejected = Some(problem);
            }
        }
        let path = resource.path;
        let record = self.edge.recorder.open(
            method,
            path.template,
            uri.clone(),
            Rc::clone(&id),
            traceparent(request.headers()).map(str::to_owned),
        );
        let deadline = record.start() + self.edge.http.request_timeout;
        let http_1_0 = request.version() < Version::HTTP_11;
        let authorization = match rejected.map_or_else(|| check_head(&request), Err) {
            Err(problem) => Authorization::Rejected(problem.into()),
            Ok(()) => self
                .edge
                .authenticator
                .as_ref()
                .map_or(Authorization::Open, |a| {
                    let rates = self.edge.http.rates.as_ref();
                    authorize(a, rates, &request, resource, deadline, &id)
                }),
        };
        let mut in_flight = InFlight {
            guard,
            http: Rc::clone(&self.edge.http),
            record,
            id: Rc::clone(&id),
            uri,
            is_probe: path.is_probe,
            http_1_0,
            remaining: None,
            polls: 0,
        };
        let call = Call {
            service: Rc::clone(&self.service),
            request,
            template: path.template,
            id,
            deadline,
        };
        let stage = match authorization {
            Authorization::Open => call.start(Arc::clone(&self.edge.nobody)),
            Authorization::Authorized(principal) => call.start_for(principal, &mut in_flight),
            Authorization::Rejected(rejection) => Stage::rejected(in_flight.reject(rejection)),
            Authorization::Waiting(verification) => Stage::waiting(verification, call),
        };
        EdgeFuture {
            stage,
            response: None,
            in_flight: Some(in_flight),
        }
    }
}

const TOO_MANY_CONNECTIONS: &str = "Too many clients are connected. Try again later.";

pin_project! {
    /// A request that [`Edge`] processes.
    pub(crate) struct EdgeFuture<S, B>
    where
        S: Service<ServiceRequest>,
    {
        #[pin]
        stage: Stage<S>,
        // The response of the handler, while the rest of the request is received.
        response: Option<Result<ServiceResponse<B>, Error>>,
        in_flight: Option<InFlight>,
    }
}

impl<S, B> Future for EdgeFuture<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    type Output = Result<ServiceResponse<Outgoing<EitherBody<B>>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match this.response.take() {
            Some(response) => response,
            None => poll_ready!(this.stage.poll(this.in_flight.as_mut(), cx)),
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
