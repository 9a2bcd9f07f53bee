//! The responses that carry a problem. Kinds of problems that share a status share a response of the
//! document, with one example for each kind. Operations refer to it by name.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::IntoResponses;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

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
        NotFound: [NotFound];
        MethodNotAllowed: [MethodNotAllowed];
        RequestTimeout: [RequestTimeout];
        Conflict: [IllegalTransition, OrderNotEditable];
        CursorExpired: [CursorExpired];
        PreconditionFailed: [PreconditionFailed];
        PayloadTooLarge: [PayloadTooLarge];
        UnsupportedMediaType: [UnsupportedMediaType];
        ValidationFailed: [ValidationFailed];
        UnprocessableOrder: [ValidationFailed, IdempotencyKeyReused];
        InternalError: [Internal];
        Overloaded: [Overloaded];
        NotReady: [Unavailable];
        ServiceUnavailable: [Overloaded, Unavailable, Timeout];
    }
    groups {
        /// Errors of a request that creates an order.
        CreateErrors: [
            BadRequest, RequestTimeout, PayloadTooLarge, UnsupportedMediaType, UnprocessableOrder,
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
        /// Errors of a request for one order.
        GetErrors: [NotFound, PreconditionFailed];
        /// Errors of a request for a list that belongs to one order.
        OrderQueryErrors: [NotFound, ValidationFailed];
        /// Errors of the service or its database, whatever the request.
        ServerErrors: [InternalError, ServiceUnavailable];
        /// There is no such file.
        FileErrors: [NotFound, InternalError];
        /// The service is not ready.
        ReadinessErrors: [NotReady];
        /// Any request is rejected if its head is malformed or too large.
        AnyRequest: [BadRequest];
        /// Any request but a probe of the process is also rejected while too many clients are connected
        /// or too many response bytes wait to be sent.
        AnyButLiveness: [BadRequest, Overloaded];
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
        let names: Vec<_> = self
            .kinds()
            .iter()
            .map(|kind| format!("`{}`", kind.as_str()))
            .collect();
        let examples = self.kinds().iter().map(|kind| {
            let example = ExampleBuilder::new()
                .summary(kind.title())
                .value(Some(example(*kind)));
            (kind.as_str(), example.build())
        });
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .examples_from_iter(examples)
            .build();
        let response = ResponseBuilder::new()
            .description(names.join(" or "))
            .content("application/problem+json", content);
        match self.kinds().first().map(|kind| kind.status().as_u16()) {
            Some(405) => response.header("Allow", Default::default()),
            Some(503) => response.header("Retry-After", Default::default()),
            _ => response,
        }
        .build()
    }
}

/// Every response by its name.
pub(super) fn all() -> impl Iterator<Item = (String, RefOr<Response>)> {
    ProblemResponse::ALL
        .iter()
        .map(|response| (response.name().to_owned(), response.response().into()))
}

/// A problem of this kind as a client might see it.
fn example(kind: ProblemKind) -> serde_json::Value {
    let mut problem = json!({
        "type": format!("urn:problem:order-service:{}", kind.as_str()),
        "title": kind.title(),
        "status": kind.status().as_u16(),
        "detail": kind.detail(),
        "instance": "/api/v1/orders",
        "request_id": "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6072",
    });
    let more = match kind {
        ProblemKind::ValidationFailed => Some((
            "errors",
            json!([{"pointer": "/quantity", "detail": "must be from 1 to 1000000, is 0"}]),
        )),
        ProblemKind::IllegalTransition => Some(("allowed", json!(["confirmed", "cancelled"]))),
        ProblemKind::CursorExpired => Some(("oldest", json!("AA"))),
        _ => None,
    };
    if let (Some((member, value)), Some(object)) = (more, problem.as_object_mut()) {
        object.insert(member.to_owned(), value);
    }
    problem
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
