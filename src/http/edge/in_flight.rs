//! The end of a request at the edge: the rest of its body, and the headers that every response has.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, EitherBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{ConnectionType, Method, StatusCode, Uri};

use super::authorization::Rejection;
use super::rates::Remaining;
use crate::domain::Caller;
use crate::http::activity::{Activity, RequestGuard, SMALL_REMAINDER, Unreceived};
use crate::http::problem::Problem;
use crate::http::request::context::REQUEST_ID;
use crate::http::response::budget;
use crate::http::response::outgoing::Outgoing;
use crate::http::state::HttpState;
use crate::telemetry::AccessRecord;

/// How many polls Actix gets to receive the rest of a request. It receives 1 to 8 KiB in each, and the rest is at
/// most [`SMALL_REMAINDER`].
const MAX_POLLS: u8 = 160;

/// A request whose response does not exist yet.
pub(crate) struct InFlight {
    pub(crate) guard: Option<RequestGuard>,
    pub(crate) http: Rc<HttpState>,
    pub(crate) record: AccessRecord,
    pub(crate) id: Rc<str>,
    pub(crate) uri: Uri,
    pub(crate) is_probe: bool,
    pub(crate) http_1_0: bool,
    /// What the caller has left of its rate, if rates are limited.
    pub(crate) remaining: Option<Remaining>,
    /// How many polls have waited for the rest of the body.
    pub(crate) polls: u8,
}

impl InFlight {
    /// Records who makes the request, and counts it against the rate of this caller.
    ///
    /// # Errors
    /// A problem if the caller exceeds its rate.
    pub(crate) fn authorize(&mut self, caller: &Arc<Caller>) -> Result<(), Problem> {
        self.record.set_caller(Arc::clone(caller));
        if let Some(rates) = &self.http.rates {
            self.remaining = Some(Remaining::NONE);
            self.remaining = Some(rates.check(caller)?);
        }
        Ok(())
    }

    /// Returns the problem of a request that is not authorized. The request counts against the rate of its caller if
    /// that is verified.
    pub(crate) fn reject(&mut self, rejection: Rejection) -> Problem {
        self.remaining = rejection.remaining;
        match rejection.caller.map(|caller| self.authorize(&caller)) {
            Some(Err(exceeded)) => exceeded,
            Some(Ok(())) | None => rejection.problem,
        }
    }

    fn activity(&self) -> Option<&Activity> {
        self.guard.as_ref().map(RequestGuard::activity)
    }

    /// Whether Actix must receive more of the request before the response.
    ///
    /// Actix closes a connection if it has not received the whole request when the response begins. So it gets one
    /// poll to receive the bytes that have already arrived, and the connection substitutes a small rest. With a
    /// larger rest the connection closes, and reads the rest after the response.
    pub(crate) fn waits_for_body(&mut self, status: StatusCode) -> bool {
        let Some(activity) = self
            .activity()
            .filter(|activity| activity.has_unread_body())
        else {
            return false;
        };
        let unreceived = activity.unreceived();
        if self.polls == 0 {
            let large = matches!(unreceived, Unreceived::Bytes(rest) if rest > SMALL_REMAINDER);
            // After a request timeout, the edge does not wait for the client again.
            if large || status == StatusCode::REQUEST_TIMEOUT {
                activity.close_after_response();
            }
            activity.abandon_body();
        }
        let received =
            activity.closes_after_response() || !matches!(unreceived, Unreceived::Bytes(_));
        // A client that has closed its side sends no more, and then nothing is substituted.
        if self.polls > 0 && received || self.polls == MAX_POLLS {
            return false;
        }
        self.polls += 1;
        true
    }

    pub(crate) fn finish<B: MessageBody + 'static>(
        &mut self,
        response: ServiceResponse<B>,
    ) -> ServiceResponse<Outgoing<EitherBody<B>>> {
        let status = response.status();
        let known = response
            .response()
            .error()
            .and_then(|error| error.as_error::<Problem>());
        let rejected;
        let known = if status.is_client_error() || status.is_server_error() {
            known
        } else if let Err(problem) = self.acquire_budget(
            response.request().method(),
            response.response().body().size(),
        ) {
            rejected = problem;
            Some(&rejected)
        } else {
            let mut response = response.map_into_left_body();
            self.set_headers(response.response_mut());
            return response.map_body(|_, body| self.send(body));
        };
        let mut problem = self.problem(known, status);
        if let Some(allow) = response.headers().get(ALLOW) {
            problem.headers_mut().insert(ALLOW, allow.clone());
        }
        let response = response.into_response(problem).map_into_right_body();
        response.map_body(|_, body| self.send(body))
    }

    /// Acquires the budget for a response of this size to a request with this method, which is held until the response
    /// is sent.
    ///
    /// A request that may have changed something always gets its response: a problem would report as failed what is
    /// stored. The extractor of the body has checked the budget before the change.
    ///
    /// # Errors
    /// A problem if the request only reads, and the budget or the caller's share of it does not suffice.
    fn acquire_budget(&self, method: &Method, size: BodySize) -> Result<(), Problem> {
        let BodySize::Sized(bytes) = size else {
            return Ok(());
        };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if bytes <= budget::SMALL || self.is_probe {
            return Ok(());
        }
        let caller = self.caller().map(Arc::as_ref);
        let permit = if matches!(*method, Method::GET | Method::HEAD) {
            let permit = self.http.responses.acquire(caller, bytes);
            permit.map_err(|error| budget::problem(caller, error))?
        } else {
            self.http.responses.charge(caller, bytes)
        };
        if let Some(activity) = self.activity() {
            activity.hold(permit);
        }
        Ok(())
    }

    /// Who makes the request. `None` if its route is open, or if it was rejected before that was verified.
    fn caller(&self) -> Option<&Arc<Caller>> {
        self.record.caller()
    }

    /// Wraps the body of the response. The connection is busy until it is sent.
    pub(crate) fn send<B: MessageBody + 'static>(&mut self, body: B) -> Outgoing<B> {
        let guard = self.guard.take();
        // A stream has no end that says how fast its client reads.
        if let Some(guard) = &guard
            && body.size() != BodySize::Stream
        {
            guard.activity().response_exists(self.record.end());
        }
        Outgoing::new(body, guard, &self.http.responses, self.caller())
    }

    pub(crate) fn problem(
        &mut self,
        known: Option<&Problem>,
        status: StatusCode,
    ) -> HttpResponse<BoxBody> {
        let problem = known.cloned().unwrap_or_else(|| Problem::of_status(status));
        problem.log(&self.id);
        let mut response = problem.response(self.uri.path(), &self.id);
        self.set_headers(&mut response);
        response
    }

    /// Sets the headers that every response has, and the status of the access record.
    fn set_headers<B: MessageBody + 'static>(&mut self, response: &mut HttpResponse<B>) {
        self.record.set_status(response.status().as_u16());
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(REQUEST_ID), id);
        }
        let headers = response.headers_mut();
        if let (Some(rates), Some(remaining)) = (&self.http.rates, self.remaining) {
            rates.set_headers(remaining, headers);
        }
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        // HTTP/1.0 has no chunks: a body without a length ends with the connection.
        let until_close = self.http_1_0 && response.body().size() == BodySize::Stream;
        if until_close {
            response.head_mut().no_chunking(true);
        }
        let closes = self.activity().is_some_and(Activity::closes_after_response);
        if until_close || closes || self.http.drain.is_cancelled() {
            response
                .head_mut()
                .set_connection_type(ConnectionType::Close);
            if let Some(activity) = self.activity() {
                activity.close_after_response();
            }
        }
    }
}
