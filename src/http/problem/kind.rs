//! The kinds of problems and the status that goes with each.

use actix_web::http::StatusCode;

/// The kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The request is not HTTP, its body not JSON, or it ended half-way.
    MalformedRequest,
    /// There is no such thing.
    NotFound,
    /// The method does not go with the path.
    MethodNotAllowed,
    /// The client was too slow with its request.
    RequestTimeout,
    /// The status cannot follow the one the order has.
    IllegalTransition,
    /// The order does not take this change any more.
    OrderNotEditable,
    /// The events behind the cursor are not those that follow what its reader has seen.
    CursorExpired,
    /// The order has another version than the client wants to change.
    PreconditionFailed,
    /// The body is larger than `MAX_BODY_BYTES`.
    PayloadTooLarge,
    /// The body is not of a type that is understood here.
    UnsupportedMediaType,
    /// The request is well-formed and wrong.
    ValidationFailed,
    /// The key was used before for another request.
    IdempotencyKeyReused,
    /// A fault of this service.
    Internal,
    /// Too many requests wait already.
    Overloaded,
    /// The database does not answer, or the service is about to end.
    Unavailable,
    /// The service was too slow with its answer.
    Timeout,
}

impl ProblemKind {
    /// Every kind.
    pub const ALL: [Self; 16] = [
        Self::MalformedRequest,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::IllegalTransition,
        Self::OrderNotEditable,
        Self::CursorExpired,
        Self::PreconditionFailed,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::ValidationFailed,
        Self::IdempotencyKeyReused,
        Self::Internal,
        Self::Overloaded,
        Self::Unavailable,
        Self::Timeout,
    ];

    /// Name, status, title and what is said when there is nothing more precise to say.
    const fn row(self) -> (&'static str, StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::MalformedRequest => (
                "malformed-request",
                S::BAD_REQUEST,
                "Malformed request",
                "The request could not be understood.",
            ),
            Self::NotFound => (
                "not-found",
                S::NOT_FOUND,
                "Not found",
                "There is nothing at this path.",
            ),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                S::METHOD_NOT_ALLOWED,
                "Method not allowed",
                "This path does not take this method; see the Allow header.",
            ),
            Self::RequestTimeout => (
                "request-timeout",
                S::REQUEST_TIMEOUT,
                "Request timeout",
                "The request did not arrive in time.",
            ),
            Self::IllegalTransition => (
                "illegal-transition",
                S::CONFLICT,
                "Illegal transition",
                "The order cannot go to this status; see allowed.",
            ),
            Self::OrderNotEditable => (
                "order-not-editable",
                S::CONFLICT,
                "Order not editable",
                "The order does not take this change any more.",
            ),
            Self::CursorExpired => (
                "cursor-expired",
                S::GONE,
                "Cursor expired",
                "Events behind the cursor are gone. Start again from oldest.",
            ),
            Self::PreconditionFailed => (
                "precondition-failed",
                S::PRECONDITION_FAILED,
                "Precondition failed",
                "The order has changed. Get it, and try again with its ETag.",
            ),
            Self::PayloadTooLarge => (
                "payload-too-large",
                S::PAYLOAD_TOO_LARGE,
                "Payload too large",
                "The body is too large.",
            ),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                S::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported media type",
                "The body must be JSON: Content-Type: application/json.",
            ),
            Self::ValidationFailed => (
                "validation-failed",
                S::UNPROCESSABLE_ENTITY,
                "Validation failed",
                "The request does not fit; see errors.",
            ),
            Self::IdempotencyKeyReused => (
                "idempotency-key-reused",
                S::UNPROCESSABLE_ENTITY,
                "Idempotency key reused",
                "This key was used before for another request. Nothing was done.",
            ),
            Self::Internal => (
                "internal",
                S::INTERNAL_SERVER_ERROR,
                "Internal error",
                "Something went wrong here. The log has it under the request_id.",
            ),
            Self::Overloaded => (
                "overloaded",
                S::SERVICE_UNAVAILABLE,
                "Overloaded",
                "Too many requests are waiting. Try again later.",
            ),
            Self::Unavailable => (
                "unavailable",
                S::SERVICE_UNAVAILABLE,
                "Unavailable",
                "The database cannot be reached. Try again later.",
            ),
            Self::Timeout => (
                "timeout",
                S::SERVICE_UNAVAILABLE,
                "Timeout",
                "The answer took too long. What was asked for may have happened.",
            ),
        }
    }

    /// The last part of the problem's `type`.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The kind for a person.
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// What is said when there is nothing more precise to say.
    pub const fn detail(self) -> &'static str {
        self.row().3
    }

    /// The status it goes with.
    pub const fn status(self) -> StatusCode {
        self.row().1
    }

    /// The kind that fits a status with which the framework answered on its own.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        Self::ALL
            .into_iter()
            .find(|slug| slug.status() == status)
            .unwrap_or(if status.is_client_error() {
                Self::MalformedRequest
            } else {
                Self::Internal
            })
    }
}

#[cfg(test)]
mod tests;
