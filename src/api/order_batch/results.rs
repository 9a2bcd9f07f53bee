//! The response body of a batch.

use std::collections::HashSet;

use actix_web::ResponseError as _;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::api::created::Created;
use crate::http::problem::{Problem, ProblemBody};
use crate::order_json::OrderJson;

/// The outcomes of a batch.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderResults)]
pub(crate) struct Results<'a> {
    /// One for each order, in the order of the request.
    results: Vec<OrderResult<'a>>,
}

/// The outcome of one order of a batch: either the order or a problem.
#[derive(Serialize, ToSchema)]
struct OrderResult<'a> {
    /// The status code that the order would have had in a request of its own.
    #[schema(example = 201)]
    status: u16,
    /// The order (201 only).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = OrderJson<'static>, required = false)]
    order: Option<&'a RawValue>,
    /// Whether an earlier request with the same key created the order, which is then as it was at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = true)]
    idempotency_replayed: Option<bool>,
    /// Why there is no order (every status but 201).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ProblemBody<'static>, required = false)]
    problem: Option<ProblemBody<'a>>,
}

/// Formats the outcomes of a request with this path and this id, and logs the causes of problems.
///
/// # Errors
/// If a document is not JSON.
pub(super) fn to_json(
    outcomes: &[Result<Created, Problem>],
    path: &str,
    request_id: &str,
) -> Result<Vec<u8>, serde_json::Error> {
    // A fault of the database is usually the cause of many problems. One line for it is enough.
    let mut logged = HashSet::new();
    let mut bytes = 0;
    let results = outcomes.iter().map(|outcome| {
        Ok(match outcome {
            Ok(Created { document, replayed }) => {
                bytes += document.json.len();
                OrderResult {
                    status: 201,
                    order: Some(serde_json::from_slice(&document.json)?),
                    idempotency_replayed: replayed.then_some(true),
                    problem: None,
                }
            }
            Err(problem) => {
                if problem.cause().is_some_and(|cause| logged.insert(cause)) {
                    problem.log(request_id);
                }
                OrderResult {
                    status: problem.status_code().as_u16(),
                    order: None,
                    idempotency_replayed: None,
                    problem: Some(problem.body(path, request_id)),
                }
            }
        })
    });
    let results = Results {
        results: results.collect::<Result<_, serde_json::Error>>()?,
    };
    // The members around an order take 36 bytes at most, and a problem is larger.
    let mut json = Vec::with_capacity(bytes + outcomes.len() * 64);
    serde_json::to_writer(&mut json, &results)?;
    Ok(json)
}
