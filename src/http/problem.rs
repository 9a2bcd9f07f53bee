//! Problems: the response body of every error (RFC 9457).

pub(crate) mod kind;

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::Violation;
use crate::http::ProblemKind;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// Seconds after which a client may retry. The result of a readiness check is at most one second old.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An error as the client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    kind: ProblemKind,
    detail: Cow<'static, str>,
    errors: Vec<Violation>,
    /// Boxed, because few problems have members and a `Result` is as large as its error.
    members: Option<Box<Members>>,
    /// A header that the kind alone does not determine.
    header: Option<Box<(HeaderName, String)>>,
    /// For the log only.
    cause: Option<Box<str>>,
}

/// Extension members (RFC 9457, section 3.2) that only some kinds of problems have.
#[derive(Clone, Debug, Default)]
struct Members {
    reason: Option<&'static str>,
    allowed: Option<Vec<&'static str>>,
    oldest: Option<String>,
    order_id: Option<Uuid>,
}

/// The body of a problem.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// `urn:problem:order-service:` and the kind.
    #[schema(example = "urn:problem:order-service:validation-failed")]
    r#type: String,
    /// A short title for users.
    #[schema(example = "Validation failed")]
    title: &'static str,
    /// The status code.
    #[schema(example = 422)]
    status: u16,
    /// The cause of this error.
    #[schema(example = "The request does not fit; see errors.")]
    detail: &'a str,
    /// The path of the request.
    #[schema(example = "/api/v1/orders")]
    instance: &'a str,
    /// The id of the request, as in the `X-Request-Id` header and the logs.
    #[schema(example = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6072")]
    request_id: &'a str,
    /// The parts of the request that are invalid (422 only).
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    errors: Vec<ErrorBody<'a>>,
    /// Why the service is not ready (`/readyz` only): `database_unavailable`, `schema_behind`,
    /// `keys_unavailable` or `draining`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "draining")]
    reason: Option<&'static str>,
    /// The statuses to which the order may change (`illegal-transition` only).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(["confirmed", "cancelled"]))]
    allowed: Option<&'a [&'static str]>,
    /// A cursor from which all events that still exist can be read (`cursor-expired` only).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        example = "XW5_gJobLD1OX2Bxk3Jv0aQ9mZc7Yt2LwP8nRe5UsHdKfXbV1oGi4TjCqNyMuE6lDzWhSaOBpIxQrJFg"
    )]
    oldest: Option<&'a str>,
    /// The order that has the external id (`external-id-taken` only).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071")]
    order_id: Option<Uuid>,
}

/// One invalid part of a request.
#[derive(Serialize, ToSchema)]
#[schema(as = ProblemError)]
pub(crate) struct ErrorBody<'a> {
    /// The location: a JSON Pointer into the body, or `/` and the name of the query parameter.
    #[schema(example = "/quantity")]
    pointer: &'a str,
    /// The reason.
    #[schema(example = "must be from 1 to 1000000, is 0")]
    detail: &'a str,
}

impl Problem {
    /// Creates a problem with a specific detail.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            members: None,
            header: None,
            cause: None,
        }
    }

    /// Creates the problem for a fault of this service. The cause goes to the log, not to the client.
    pub(crate) fn internal(cause: impl fmt::Display) -> Self {
        Self::from(ProblemKind::Internal).because(cause)
    }

    /// Adds the cause, which goes to the log, not to the client.
    pub(crate) fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into());
        self
    }

    /// Makes the problem of a request that of one element, at `pointer`, of another request, with at most `limit` of
    /// its invalid parts.
    pub(crate) fn of_element(mut self, pointer: &str, limit: usize) -> Self {
        self.errors.truncate(limit);
        for violation in &mut self.errors {
            violation.pointer.insert_str(0, pointer);
        }
        self
    }

    /// The cause, for the log.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Logs the cause, if there is one.
    pub(crate) fn log(&self, request_id: &str) {
        if let Some(cause) = &self.cause {
            log::warn!(request_id, problem = self.kind.as_str(), cause = cause.as_ref(); "request failed");
        }
    }

    /// Adds a header, for example one that lists the values that would be accepted (RFC 9110, section 15.5.16). It
    /// replaces a header of the same name.
    pub(crate) fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.header = Some(Box::new((name, value.into())));
        self
    }

    /// Adds the reason why the service is not ready.
    pub(crate) fn with_reason(mut self, reason: &'static str) -> Self {
        self.members().reason = Some(reason);
        self
    }

    /// Adds the values that would be allowed.
    pub(crate) fn with_allowed(mut self, allowed: impl IntoIterator<Item = &'static str>) -> Self {
        self.members().allowed = Some(allowed.into_iter().collect());
        self
    }

    /// Adds the oldest cursor from which all events can be read.
    pub(crate) fn with_oldest(mut self, oldest: impl fmt::Display) -> Self {
        self.members().oldest = Some(oldest.to_string());
        self
    }

    /// Adds the order with which the request conflicts.
    pub(crate) fn with_order_id(mut self, order_id: Uuid) -> Self {
        self.members().order_id = Some(order_id);
        self
    }

    fn members(&mut self) -> &mut Members {
        self.members.get_or_insert_default()
    }

    /// Creates the problem for a response that Actix itself has sent.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        ProblemKind::of_status(status).into()
    }

    /// The body of the problem of a request with this path and this id.
    pub(crate) fn body<'a>(&'a self, instance: &'a str, request_id: &'a str) -> ProblemBody<'a> {
        let members = self.members.as_deref();
        ProblemBody {
            r#type: format!("urn:problem:order-service:{}", self.kind.as_str()),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            instance,
            request_id,
            errors: self
                .errors
                .iter()
                .map(|violation| ErrorBody {
                    pointer: &violation.pointer,
                    detail: &violation.detail,
                })
                .collect(),
            reason: members.and_then(|members| members.reason),
            allowed: members.and_then(|members| members.allowed.as_deref()),
            oldest: members.and_then(|members| members.oldest.as_deref()),
            order_id: members.and_then(|members| members.order_id),
        }
    }

    /// Builds the response with the problem as its body.
    pub(crate) fn response(&self, instance: &str, request_id: &str) -> HttpResponse {
        let mut response = HttpResponse::build(self.kind.status());
        response.insert_header((CONTENT_TYPE, PROBLEM_JSON));
        if self.kind.asks_to_retry() {
            response.insert_header((RETRY_AFTER, RETRY_SECONDS));
        }
        if let Some((name, value)) = self.header.as_deref() {
            response.insert_header((name, value.as_str()));
        }
        response.json(self.body(instance, request_id))
    }
}

impl From<ProblemKind> for Problem {
    fn from(kind: ProblemKind) -> Self {
        Self::new(kind, kind.detail())
    }
}

impl From<Vec<Violation>> for Problem {
    fn from(errors: Vec<Violation>) -> Self {
        Self {
            errors,
            ..ProblemKind::ValidationFailed.into()
        }
    }
}

impl From<Violation> for Problem {
    fn from(error: Violation) -> Self {
        vec![error].into()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.detail)
    }
}

/// Lets handlers and extractors return a problem. [`Edge`](crate::http::Edge) writes the body, which needs
/// the path and the id of the request.
impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.status()
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}
