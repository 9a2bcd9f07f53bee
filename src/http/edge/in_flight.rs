//! The end of a request at the edge: what of its body is still to come, and what every response has.

use std::rc::Rc;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, EitherBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{ConnectionType, StatusCode, Uri};

use crate::http::activity::{Activity, Missing, RequestGuard, SMALL_REST};
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::http::request::context::REQUEST_ID;
use crate::http::response::budget;
use crate::http::response::outgoing::Outgoing;
use crate::http::state::HttpState;
use crate::telemetry::AccessRecord;

/// How often Actix is given a round to take the rest of a request. It takes 1 to 8 KiB in each, and the
/// rest is no larger than [`SMALL_REST`].
const MAX_ROUNDS: u8 = 160;
/// What a client is told whose response has no room.
const TOO_MUCH: &str = "Too many large responses are waiting for their clients. Try again later.";
/// What is needed when the response is there.
pub(crate) struct InFlight {
    pub(crate) busy: Option<RequestGuard>,
    pub(crate) http: Rc<HttpState>,
    pub(crate) record: AccessRecord,
    pub(crate) id: Rc<str>,
    pub(crate) uri: Uri,
    pub(crate) is_probe: bool,
    /// The client speaks HTTP/1.0.
    pub(crate) old: bool,
    /// How often the rest of the body has been waited for.
    pub(crate) rounds: u8,
}

impl InFlight {
    fn activity(&self) -> Option<&Activity> {
        self.busy.as_ref().map(RequestGuard::activity)
    }

    /// Whether Actix has to see more of the request before the response.
    ///
    /// Actix ends a connection whose request it has not seen as a whole when the response begins. So
    /// it gets one round to take what has come already, and a small rest is made up for it by the
    /// connection. What is larger ends the connection, and is read after the response.
    pub(crate) fn waits_for_body(&mut self, status: StatusCode) -> bool {
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

    pub(crate) fn finish<B: MessageBody + 'static>(
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
            refused = Problem::new(ProblemKind::Overloaded, TOO_MUCH);
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
        if bytes <= budget::SMALL || self.is_probe {
            return true;
        }
        let Some(permit) = self.http.responses.take(bytes) else {
            return false;
        };
        if let Some(activity) = self.activity() {
            activity.hold(permit);
        }
        true
    }

    /// The body on its way out; the request is busy until it is gone.
    pub(crate) fn send<B: MessageBody + 'static>(&mut self, body: B) -> Outgoing<B> {
        Outgoing::new(body, self.busy.take(), &self.http.responses)
    }

    pub(crate) fn problem(
        &mut self,
        known: Option<&Problem>,
        status: StatusCode,
    ) -> HttpResponse<BoxBody> {
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
        if endless || ends || self.http.drain.is_cancelled() {
            response
                .head_mut()
                .set_connection_type(ConnectionType::Close);
            if let Some(activity) = self.activity() {
                activity.end_after_this();
            }
        }
    }
}
