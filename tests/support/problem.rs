//! The response body of an error (RFC 9457).

use serde_json::Value;

use super::client::Response;

/// The problem in a response, after a check of the members and headers that every problem has.
pub fn problem(response: Response) -> Value {
    let status = response.status();
    assert_eq!(response.header("content-type"), "application/problem+json");
    let id = response.header("x-request-id").to_owned();
    if [429, 503].contains(&status) {
        assert!(response.header("retry-after").parse::<u32>().is_ok());
    }
    let path = shown_path(response.url().path()).to_owned();
    let problem: Value = response.json();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["request_id"], id.as_str());
    assert_eq!(problem["instance"], path.as_str());
    for member in ["type", "title", "detail"] {
        assert!(!problem[member].as_str().unwrap().is_empty(), "{problem}");
    }
    problem
}

/// The path as a problem has it: never a customer, also if the path only resembles that of one.
fn shown_path(path: &str) -> &str {
    // The first letter may be encoded.
    if path.to_lowercase().contains("ustomer") {
        "/api/v1/customers/{customer_id}"
    } else {
        path
    }
}

/// The suffix of a problem's type.
pub fn problem_kind(problem: &Value) -> &str {
    let kind = problem["type"].as_str().unwrap();
    kind.strip_prefix("urn:problem:order-service:").unwrap()
}
