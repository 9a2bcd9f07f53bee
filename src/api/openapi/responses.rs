//! The responses that carry a problem. Kinds of problems that share a status share a response of the document, and
//! its description names them. Operations refer to it by name.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::header::Header;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::headers;
use crate::http::problem::kind::ProblemKind;

/// Declares the responses, and the groups of responses that operations refer to.
macro_rules! problems {
    (
        responses { $($response:ident: [$($kind:ident),* $(,)?];)* }
        groups { $($(#[$doc:meta])* $group:ident: [$($member:ident),* $(,)?];)* }
    ) => {
        /// A response of the document that carries a problem.
        #[derive(Clone, Copy)]
        pub(super) enum ProblemResponse {
            $($response,)*
        }

        impl ProblemResponse {
            const ALL: &'static [Self] = &[$(Self::$response),*];

            const fn name(self) -> &'static str {
                match self { $(Self::$response => stringify!($response),)* }
            }

            const fn kinds(self) -> &'static [ProblemKind] {
                match self { $(Self::$response => &[$(ProblemKind::$kind),*],)* }
            }
        }

        $(
            $(#[$doc])*
            pub(crate) struct $group;

            impl IntoResponses for $group {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    [$(ProblemResponse::$member.reference()),*].into()
                }
            }
        )*
    };
}

problems! {
    responses {
        BadRequest: [MalformedRequest];
        Unauthenticated: [Unauthenticated];
        Forbidden: [Forbidden];
        NotFound: [NotFound];
        MethodNotAllowed: [MethodNotAllowed];
        RequestTimeout: [RequestTimeout];
        Conflict: [IllegalTransition, OrderNotEditable];
        ExternalIdTaken: [ExternalIdTaken];
        CursorExpired: [CursorExpired];
        PreconditionFailed: [PreconditionFailed];
        PayloadTooLarge: [PayloadTooLarge];
        UnsupportedMediaType: [UnsupportedMediaType];
        ValidationFailed: [ValidationFailed];
        UnprocessableOrder: [ValidationFailed, IdempotencyKeyReused];
        RateLimited: [RateLimited];
        InternalError: [Internal];
        Overloaded: [Overloaded];
        NotReady: [Unavailable];
        ServiceUnavailable: [Overloaded, Unavailable, KeysUnavailable, Timeout];
    }
    groups {
        /// Errors of a request that creates an order.
        CreateErrors: [
            BadRequest, RequestTimeout, ExternalIdTaken, PayloadTooLarge, UnsupportedMediaType,
            UnprocessableOrder,
        ];
        /// Errors of a request that creates several orders.
        BatchErrors: [
            BadRequest, RequestTimeout, PayloadTooLarge, UnsupportedMediaType, ValidationFailed,
        ];
        /// Errors of a request that updates an order.
        UpdateErrors: [
            BadRequest, NotFound, RequestTimeout, Conflict, PreconditionFailed, PayloadTooLarge,
            UnsupportedMediaType, ValidationFailed,
        ];
        /// Errors of the query of a list.
        QueryErrors: [ValidationFailed];
        /// Errors of the cursor or the query of the feed.
        FeedErrors: [CursorExpired, ValidationFailed];
        /// Errors of a request to erase a customer.
        EraseErrors: [ValidationFailed];
        /// Errors of a request for an erasure.
        ErasureErrors: [NotFound];
        /// Errors of a request for one order.
        GetErrors: [NotFound, PreconditionFailed];
        /// Errors of a request for a list that belongs to one order.
        OrderQueryErrors: [NotFound, ValidationFailed];
        /// Errors of the service or its database, whatever the request.
        ServerErrors: [InternalError, ServiceUnavailable];
        /// The file does not exist.
        FileErrors: [NotFound, InternalError];
        /// The service is not ready.
        ReadinessErrors: [NotReady];
        /// Every request may be rejected because its head is malformed or too large.
        AnyRequest: [BadRequest];
        /// Every request except a liveness probe may also be rejected while too many clients are connected or too
        /// many response bytes wait to be sent.
        AnyButLiveness: [BadRequest, Overloaded];
        /// Every request except a probe may also be rejected because of its `Host`.
        AnyButProbes: [BadRequest, Forbidden, Overloaded];
        /// Every request that needs a scope may also be rejected because of its credentials.
        AnySecured: [BadRequest, Unauthenticated, Forbidden, RateLimited];
    }
}

impl ProblemResponse {
    /// The status code, and the reference.
    fn reference(self) -> (String, RefOr<Response>) {
        let status = self.kinds().first().map(|kind| kind.status().as_u16());
        let reference = Ref::from_response_name(self.name());
        (status.unwrap_or_default().to_string(), reference.into())
    }

    fn response(self) -> Response {
        // The schema already has examples of the members.
        let kinds: Vec<_> = self
            .kinds()
            .iter()
            .map(|kind| format!("`{}`: {}", kind.as_str(), kind.detail()))
            .collect();
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .build();
        let response = ResponseBuilder::new()
            .description(kinds.join(" "))
            .content("application/problem+json", content);
        match self.kinds().first() {
            Some(ProblemKind::MethodNotAllowed) => response.header("Allow", headers::allow()),
            Some(ProblemKind::Unauthenticated) => {
                response.header("WWW-Authenticate", Header::default())
            }
            Some(ProblemKind::RateLimited) => response
                .header("Retry-After", Header::default())
                .header("RateLimit", Header::default())
                .header("RateLimit-Policy", Header::default()),
            Some(kind) if kind.asks_to_retry() => response.header("Retry-After", Header::default()),
            _ => response,
        }
        .build()
    }
}

/// The responses that operations refer to, by name.
pub(super) fn all() -> impl Iterator<Item = (String, Response)> {
    ProblemResponse::ALL
        .iter()
        .filter(|response| !matches!(response, ProblemResponse::MethodNotAllowed))
        .map(|response| (response.name().to_owned(), response.response()))
}

/// The response to a method that the path does not support.
pub(super) fn unsupported_method() -> Response {
    ProblemResponse::MethodNotAllowed.response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_a_response_share_its_status() {
        for response in ProblemResponse::ALL {
            let statuses: Vec<_> = response.kinds().iter().map(|kind| kind.status()).collect();
            assert!(!statuses.is_empty(), "{}", response.name());
            let first = statuses[0];
            assert!(
                statuses.iter().all(|status| *status == first),
                "{}",
                response.name()
            );
        }
    }

    #[test]
    fn every_kind_has_a_response() {
        for kind in ProblemKind::ALL {
            let documented = ProblemResponse::ALL
                .iter()
                .any(|response| response.kinds().contains(&kind));
            assert!(documented, "{}", kind.as_str());
        }
    }
}
