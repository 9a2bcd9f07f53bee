//! The outermost middleware. It opens the access record and the context of a request, catches
//! panics, makes every error a problem, and sets the headers that every answer has.

use std::future::{Future, Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready as poll_ready};

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{ConnectionType, Method, StatusCode, Uri};
use actix_web::{Error, HttpMessage as _, HttpResponse};
use pin_project_lite::pin_project;

use super::activity::{Activity, Busy};
use super::context::{Context, REQUEST_ID, request_id};
use super::head::check_head;
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

    /// The answer, as bytes, for a client whose head did not come in time: there is no request, so
    /// it passes no middleware. It is counted and logged all the same.
    pub fn too_slow(&self) -> Vec<u8> {
        let id: Rc<str> = uuid::Uuid::now_v7().to_string().into();
        let uri = Uri::from_static("/");
        let recorder = &self.recorder;
        let mut record = recorder.open("other", "unmatched", uri, Rc::clone(&id), None);
        record.answered(StatusCode::REQUEST_TIMEOUT.as_u16());
        let body = Problem::from(Slug::RequestTimeout).json("/", &id);
        format!(
            "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: {}\r\n\
             content-type: application/problem+json\r\nx-request-id: {id}\r\n\
             x-content-type-options: nosniff\r\ncache-control: no-store\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

impl<S, B> Transform<S, ServiceRequest> for Edge
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B>>;
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
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = EdgeFuture<S::Future>;

    actix_web::dev::forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let busy = request.conn_data::<Rc<Activity>>().map(Activity::begin);
        let id = request_id(request.headers());
        let uri = request.uri().clone();
        let template = routes::route(&mut request);
        let record = self.edge.recorder.open(
            method_label(request.method()),
            template,
            uri.clone(),
            Rc::clone(&id),
            traceparent(request.headers()).map(str::to_owned),
        );
        let context = Context::new(template, self.edge.api.request_timeout);
        request.extensions_mut().insert(context);
        let inner = match check_head(&request) {
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
            rest: Some(Rest {
                _busy: busy,
                api: Rc::clone(&self.edge.api),
                record,
                id,
                uri,
            }),
        }
    }
}

pin_project! {
    /// A request on its way through [`Edge`].
    pub struct EdgeFuture<F> {
        #[pin]
        inner: Option<F>,
        // The answer when there is no future.
        early: Option<Problem>,
        rest: Option<Rest>,
    }
}

/// What is needed when the answer is there.
struct Rest {
    _busy: Option<Busy>,
    api: Rc<Api>,
    record: AccessRecord,
    id: Rc<str>,
    uri: Uri,
}

impl<F, B> Future for EdgeFuture<F>
where
    F: Future<Output = Result<ServiceResponse<B>, Error>>,
    B: MessageBody,
{
    type Output = Result<ServiceResponse<EitherBody<B>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match this.inner.as_pin_mut() {
            None => Err(this.early.take().unwrap_or(Slug::Internal.into()).into()),
            Some(inner) => match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
                Ok(poll) => poll_ready!(poll),
                Err(_) => Err(Problem::from(Slug::Internal).into()),
            },
        };
        let Some(mut rest) = this.rest.take() else {
            return Poll::Ready(answer.map(ServiceResponse::map_into_left_body));
        };
        let answer = match answer {
            Ok(response) => Ok(rest.finish(response)),
            // The request is gone with the service that failed; Actix sends what the error says.
            Err(error) => {
                let problem = rest.problem(
                    error.as_error::<Problem>(),
                    error.as_response_error().status_code(),
                );
                Err(actix_web::error::InternalError::from_response(error, problem).into())
            }
        };
        Poll::Ready(answer)
    }
}

impl Rest {
    fn finish<B: MessageBody>(
        &mut self,
        response: ServiceResponse<B>,
    ) -> ServiceResponse<EitherBody<B>> {
        let status = response.status();
        if !(status.is_client_error() || status.is_server_error()) {
            let mut response = response.map_into_left_body();
            self.mark(response.response_mut());
            return response;
        }
        let known = response
            .response()
            .error()
            .and_then(|error| error.as_error::<Problem>());
        let mut problem = self.problem(known, status);
        if let Some(allow) = response.headers().get(ALLOW) {
            problem.headers_mut().insert(ALLOW, allow.clone());
        }
        response.into_response(problem).map_into_right_body()
    }

    fn problem(&mut self, known: Option<&Problem>, status: StatusCode) -> HttpResponse<BoxBody> {
        let problem = known.cloned().unwrap_or_else(|| Problem::of_status(status));
        problem.log(&self.id);
        let mut response = problem.answer(self.uri.path(), &self.id);
        self.mark(&mut response);
        response
    }

    /// Sets the headers that every answer has, and closes the record.
    fn mark<B>(&mut self, response: &mut HttpResponse<B>) {
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
        if self.api.drain.is_draining() {
            response
                .head_mut()
                .set_connection_type(ConnectionType::Close);
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
