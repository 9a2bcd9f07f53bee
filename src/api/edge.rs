//! The outermost middleware. It opens the access record and the context of a request, catches
//! panics, makes every error a problem, and sets the headers that every answer has.

use std::future::{Future, Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready as poll_ready};

use actix_web::body::{BodySize, BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{ConnectionType, Method, StatusCode, Uri, Version};
use actix_web::{Error, HttpMessage as _, HttpResponse};
use pin_project_lite::pin_project;

use super::activity::{Activity, Busy, Missing, SMALL_REST};
use super::budget;
use super::context::{Context, REQUEST_ID, request_id};
use super::head::check_head;
use super::outgoing::Outgoing;
use super::problem::Problem;
use super::slug::Slug;
use super::trace::traceparent;
use super::{Api, routes};
use crate::telemetry::{AccessRecord, Recorder};

/// The outermost middleware.
#[derive(Clone)]
pub struct Edge {
    api: Rc<Api>,
    recorder: Recorder,
}

impl Edge {
    /// An edge for one worker.
    pub fn new(api: Api, recorder: Recorder) -> Self {
        Self {
            api: Rc::new(api),
            recorder,
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
pub struct EdgeService<S> {
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
        let busy = request.conn_data::<Rc<Activity>>().map(Activity::begin);
        let id = request_id(request.headers());
        let uri = request.uri().clone();
        let mut template = routes::route(&mut request);
        let mut method = method_label(request.method());
        let mut early = None;
        if let Some(activity) = busy.as_ref().map(Busy::activity) {
            if let Some(refusal) = activity.take_refusal() {
                if !refusal.readable {
                    (method, template) = ("other", routes::UNMATCHED);
                }
                early = Some(refusal.problem);
            } else if activity.is_overflow() && !routes::is_probe(template) {
                early = Some(Problem::new(Slug::Overloaded, TOO_MANY));
            }
        }
        let record = self.edge.recorder.open(
            method,
            template,
            uri.clone(),
            Rc::clone(&id),
            traceparent(request.headers()).map(str::to_owned),
        );
        let context = Context::new(template, self.edge.api.request_timeout);
        request.extensions_mut().insert(context);
        let old = request.version() < Version::HTTP_11;
        let inner = match early.map_or_else(|| check_head(&request), Err) {
            Err(problem) => Err(problem),
            // A handler may panic before its future exists. The panic hook has logged it.
            Ok(()) => catch_unwind(AssertUnwindSafe(|| self.service.call(request)))
                .map_err(|_| Slug::Internal.into()),
        };
        let (inner, early) = match inner {
            Ok(future) => (Some(future), None),
            Err(problem) => (None, Some(problem)),
        };
        EdgeFuture {
            inner,
            early,
            waiting: None,
            rest: Some(Rest {
                busy,
                api: Rc::clone(&self.edge.api),
                record,
                id,
                uri,
                template,
                old,
                rounds: 0,
            }),
        }
    }
}

/// How often Actix is given a round to take the rest of a request. It takes 128 KiB in each.
const MAX_ROUNDS: u8 = 8;
/// What a client is told whose response has no room.
const TOO_MUCH: &str = "Too many large responses are waiting for their clients. Try again later.";
/// What a client beyond `MAX_CONNECTIONS` is told.
const TOO_MANY: &str = "Too many clients are connected. Try again later.";

pin_project! {
    /// A request on its way through [`Edge`].
    pub struct EdgeFuture<F, B> {
        #[pin]
        inner: Option<F>,
        // The response when there is no future.
        early: Option<Problem>,
        // The response, while the rest of the request is put out of the way.
        waiting: Option<Result<ServiceResponse<B>, Error>>,
        rest: Option<Rest>,
    }
}

/// What is needed when the response is there.
struct Rest {
    busy: Option<Busy>,
    api: Rc<Api>,
    record: AccessRecord,
    id: Rc<str>,
    uri: Uri,
    template: &'static str,
    /// The client speaks HTTP/1.0.
    old: bool,
    /// How often the rest of the body has been waited for.
    rounds: u8,
}

impl<F, B> Future for EdgeFuture<F, B>
where
    F: Future<Output = Result<ServiceResponse<B>, Error>>,
    B: MessageBody + 'static,
{
    type Output = Result<ServiceResponse<Outgoing<EitherBody<B>>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match (this.waiting.take(), this.inner.as_pin_mut()) {
            (Some(response), _) => response,
            (None, None) => Err(this.early.take().unwrap_or(Slug::Internal.into()).into()),
            (None, Some(inner)) => match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
                Ok(poll) => poll_ready!(poll),
                Err(_) => Err(Problem::from(Slug::Internal).into()),
            },
        };
        let Some(mut rest) = this.rest.take() else {
            // A future that is ready is polled no more.
            return Poll::Ready(Err(Problem::from(Slug::Internal).into()));
        };
        let status = match &response {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        if rest.waits_for_body(status) {
            *this.waiting = Some(response);
            *this.rest = Some(rest);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(match response {
            Ok(response) => Ok(rest.finish(response)),
            // The request is gone with the service that failed; Actix sends what the error says.
            Err(error) => {
                let problem = rest.problem(
                    error.as_error::<Problem>(),
                    error.as_response_error().status_code(),
                );
                let problem = problem.map_body(|_, body| BoxBody::new(rest.send(body)));
                Err(actix_web::error::InternalError::from_response(error, problem).into())
            }
        })
    }
}

impl Rest {
    fn activity(&self) -> Option<&Activity> {
        self.busy.as_ref().map(Busy::activity)
    }

    /// Whether Actix has to see more of the request before the response.
    ///
    /// Actix ends a connection whose request it has not seen as a whole when the response begins. So
    /// it gets one round to take what has come already, and a small rest is made up for it by the
    /// connection. What is larger ends the connection, and is read after the response.
    fn waits_for_body(&mut self, status: StatusCode) -> bool {
        let Some(activity) = self.activity().filter(|activity| activity.is_unread()) else {
            return false;
        };
        let missing = activity.missing();
        if self.rounds == 0 {
            let large = matches!(missing, Missing::Bytes(rest) if rest > SMALL_REST);
            // A client that was too slow with its request is not waited for.
            if large || status == StatusCode::REQUEST_TIMEOUT {
                activity.end_after_this();
            }
            activity.abandon_body();
        }
        let whole = activity.ends_after_this() || !matches!(missing, Missing::Bytes(_));
        // A client that has closed its side sends no more, and nothing is made up for it.
        if self.rounds > 0 && whole || self.rounds == MAX_ROUNDS {
            return false;
        }
        self.rounds += 1;
        true
    }

    fn finish<B: MessageBody + 'static>(
        &mut self,
        response: ServiceResponse<B>,
    ) -> ServiceResponse<Outgoing<EitherBody<B>>> {
        let status = response.status();
        let known = response
            .response()
            .error()
            .and_then(|error| error.as_error::<Problem>());
        let refused;
        let known = if status.is_client_error() || status.is_server_error() {
            known
        } else if self.has_room_for(response.response().body().size()) {
            let mut response = response.map_into_left_body();
            self.mark(response.response_mut());
            return response.map_body(|_, body| self.send(body));
        } else {
            refused = Problem::new(Slug::Overloaded, TOO_MUCH);
            Some(&refused)
        };
        let mut problem = self.problem(known, status);
        if let Some(allow) = response.headers().get(ALLOW) {
            problem.headers_mut().insert(ALLOW, allow.clone());
        }
        let response = response.into_response(problem).map_into_right_body();
        response.map_body(|_, body| self.send(body))
    }

    /// Whether the response may wait in memory until it is sent.
    fn has_room_for(&self, size: BodySize) -> bool {
        let BodySize::Sized(bytes) = size else {
            return true;
        };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if bytes <= budget::SMALL || routes::is_probe(self.template) {
            return true;
        }
        let Some(permit) = self.api.responses.take(bytes) else {
            return false;
        };
        if let Some(activity) = self.activity() {
            activity.hold(permit);
        }
        true
    }

    /// The body on its way out; the request is busy until it is gone.
    fn send<B: MessageBody + 'static>(&mut self, body: B) -> Outgoing<B> {
        Outgoing::new(body, self.busy.take(), &self.api.responses)
    }

    fn problem(&mut self, known: Option<&Problem>, status: StatusCode) -> HttpResponse<BoxBody> {
        let problem = known.cloned().unwrap_or_else(|| Problem::of_status(status));
        problem.log(&self.id);
        let mut response = problem.answer(self.uri.path(), &self.id);
        self.mark(&mut response);
        response
    }

    /// Sets the headers that every response has, and closes the record.
    fn mark<B: MessageBody + 'static>(&mut self, response: &mut HttpResponse<B>) {
        self.record.answered(response.status().as_u16());
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(REQUEST_ID), id);
        }
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        // HTTP/1.0 knows no chunks: there, what has no length ends with the connection.
        let endless = self.old && response.body().size() == BodySize::Stream;
        if endless {
            response.head_mut().no_chunking(true);
        }
        let ends = self.activity().is_some_and(Activity::ends_after_this);
        if endless || ends || self.api.drain.is_draining() {
            response
                .head_mut()
                .set_connection_type(ConnectionType::Close);
            if let Some(activity) = self.activity() {
                activity.end_after_this();
            }
        }
    }
}

/// The method as a label: clients may invent methods, labels must not.
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
