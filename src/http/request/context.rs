//! The data of one request that the edge and the handlers share.

use std::future::{Future, Ready, ready};
use std::rc::Rc;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::HeaderMap;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::access::Principal;
use crate::domain::Caller;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;

/// The header that carries the id of a request, in both directions.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// The route and the id of a request, who makes it, and the deadline of its response.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    pub(crate) template: &'static str,
    id: Rc<str>,
    principal: Arc<Principal>,
    deadline: Instant,
}

impl RequestContext {
    pub(crate) fn new(
        template: &'static str,
        id: Rc<str>,
        principal: Arc<Principal>,
        deadline: Instant,
    ) -> Self {
        Self {
            template,
            id,
            principal,
            deadline,
        }
    }

    pub(crate) fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let context = request.extensions().get::<Self>().cloned();
        context.ok_or_else(|| Problem::internal("a request did not pass the edge"))
    }

    /// The id of the request, as in `X-Request-Id` of its response.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Who makes the request.
    pub(crate) fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// Who makes the request, as the store sees it.
    pub(crate) fn caller(&self) -> &Arc<Caller> {
        &self.principal.caller
    }

    /// The deadline of the response.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns the output of `work`, or the problem `late` if the deadline passes first.
    pub(crate) async fn within<T>(
        &self,
        work: impl Future<Output = T>,
        late: ProblemKind,
    ) -> Result<T, Problem> {
        timeout_at(self.deadline, work)
            .await
            .map_err(|_| Problem::from(late))
    }
}

impl FromRequest for RequestContext {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

/// Returns the id that the client sent, if it has 1 to 128 visible ASCII characters, otherwise a new one.
///
/// The new one is random. A UUIDv7 of the library contains a counter, which is common to all tenants, so the difference
/// between two ids of a tenant would show how many requests others have sent meanwhile.
pub(crate) fn request_id(headers: &HeaderMap) -> Rc<str> {
    headers
        .get(REQUEST_ID)
        .map(|value| value.as_bytes())
        .filter(|bytes| (1..=128).contains(&bytes.len()))
        .filter(|bytes| bytes.iter().all(u8::is_ascii_graphic))
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .map_or_else(|| Uuid::new_v4().to_string().into(), Rc::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    #[test]
    fn only_a_valid_request_id_of_a_client_is_used() {
        let id = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(
                HeaderName::from_static(REQUEST_ID),
                HeaderValue::from_bytes(value).unwrap(),
            );
            request_id(&headers)
        };
        assert_eq!(&*id(b"abc-1"), "abc-1");
        assert_eq!(id(&[b'x'; 128]).len(), 128);
        for invalid in [&b""[..], b"a b", &[b'x'; 129], "é".as_bytes()] {
            assert!(Uuid::try_parse(&id(invalid)).is_ok());
        }
        assert!(Uuid::try_parse(&request_id(&HeaderMap::new())).is_ok());
    }

    #[test]
    fn the_id_of_a_request_does_not_show_how_many_others_there_were() {
        let random = |id: &str| Uuid::try_parse(id).unwrap().as_u128() & ((1 << 62) - 1);
        let ids: Vec<_> = (0..100)
            .map(|_| random(&request_id(&HeaderMap::new())))
            .collect();
        // A counter in these bits, with up to 32 random ones below it, would make neighbours near.
        let near = ids
            .windows(2)
            .filter(|pair| pair[0].abs_diff(pair[1]) < 1 << 34);
        assert_eq!(near.count(), 0);
    }
}
