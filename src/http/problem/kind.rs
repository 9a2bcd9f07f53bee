//! The kinds of problems: type, status, title and default detail of each.

use actix_web::http::StatusCode;

/// The kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// The request is not HTTP, its body is not JSON, or it is incomplete.
    MalformedRequest,
    /// The request has no credentials, or bad ones.
    Unauthenticated,
    /// The credentials do not allow the request.
    Forbidden,
    /// No resource exists at the path.
    NotFound,
    /// The resource does not support the method.
    MethodNotAllowed,
    /// The request did not arrive in time.
    RequestTimeout,
    /// The requested status cannot follow the current one.
    IllegalTransition,
    /// The order can no longer be updated in this way.
    OrderNotEditable,
    /// Another order has the external id.
    ExternalIdTaken,
    /// The events after the cursor do not continue the history that its reader has seen.
    CursorExpired,
    /// The order has a different version from the one that the client wants to update.
    PreconditionFailed,
    /// The body is larger than `MAX_BODY_BYTES`, or that of a batch than 1 MiB.
    PayloadTooLarge,
    /// The body has a type that is not supported.
    UnsupportedMediaType,
    /// The request is well-formed but invalid.
    ValidationFailed,
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// The caller sends requests too fast, or occupies its share of the service.
    RateLimited,
    /// A fault of this service.
    Internal,
    /// A limit of the service is reached.
    Overloaded,
    /// The database is not available, or the service is draining.
    Unavailable,
    /// The keys that verify the token have not been fetched.
    KeysUnavailable,
    /// The response did not exist before the deadline.
    Timeout,
}

impl ProblemKind {
    /// Every kind.
    pub(crate) const ALL: [Self; 21] = [
        Self::MalformedRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::IllegalTransition,
        Self::OrderNotEditable,
        Self::ExternalIdTaken,
        Self::CursorExpired,
        Self::PreconditionFailed,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::ValidationFailed,
        Self::IdempotencyKeyReused,
        Self::RateLimited,
        Self::Internal,
        Self::Overloaded,
        Self::Unavailable,
        Self::KeysUnavailable,
        Self::Timeout,
    ];

    /// Returns the type suffix, status, title and default detail.
    const fn row(self) -> (&'static str, StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::MalformedRequest => (
                "malformed-request",
                S::BAD_REQUEST,
                "Malformed request",
                "The request could not be understood.",
            ),
            Self::Unauthenticated => (
                "unauthenticated",
                S::UNAUTHORIZED,
                "Unauthenticated",
                "The request needs valid credentials: Authorization: Bearer.",
            ),
            Self::Forbidden => (
                "forbidden",
                S::FORBIDDEN,
                "Forbidden",
                "The credentials do not allow this request.",
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
            Self::ExternalIdTaken => (
                "external-id-taken",
                S::CONFLICT,
                "External id taken",
                "Another order has this external_id; see order_id. Nothing was done.",
            ),
            Self::CursorExpired => (
                "cursor-expired",
                S::GONE,
                "Cursor expired",
                "Events after the cursor no longer exist. Start again from oldest.",
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
            Self::RateLimited => (
                "rate-limited",
                S::TOO_MANY_REQUESTS,
                "Rate limited",
                "The caller sends too many requests. Try again later.",
            ),
            Self::Internal => (
                "internal",
                S::INTERNAL_SERVER_ERROR,
                "Internal error",
                "An internal error occurred. The log has its cause under the request_id.",
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
            Self::KeysUnavailable => (
                "keys-unavailable",
                S::SERVICE_UNAVAILABLE,
                "Keys unavailable",
                "The keys that verify the token are not available. Try again later.",
            ),
            Self::Timeout => (
                "timeout",
                S::SERVICE_UNAVAILABLE,
                "Timeout",
                "The response took too long. The request may have taken effect.",
            ),
        }
    }

    /// The last part of the problem's `type`.
    pub(crate) const fn as_str(self) -> &'static str {
        self.row().0
    }

    pub(crate) const fn title(self) -> &'static str {
        self.row().2
    }

    /// The detail of a problem that has no specific one.
    pub(crate) const fn detail(self) -> &'static str {
        self.row().3
    }

    pub(crate) const fn status(self) -> StatusCode {
        self.row().1
    }

    /// Whether the response has `Retry-After`.
    pub(crate) fn asks_to_retry(self) -> bool {
        let status = self.status();
        status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS
    }

    /// Returns the kind for the status of a response that Actix itself has sent.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        Self::ALL
            .into_iter()
            .find(|kind| kind.status() == status)
            .unwrap_or(if status.is_client_error() {
                Self::MalformedRequest
            } else {
                Self::Internal
            })
    }
}

#[cfg(test)]
mod tests;
