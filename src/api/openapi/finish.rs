//! What every operation of the OpenAPI document has in common, and what utoipa cannot say.

use serde_json::{Map, Value, json};
use utoipa::IntoResponses as _;

use super::responses;

/// Completes the document.
///
/// # Errors
/// When a part of it cannot be written as JSON.
pub(crate) fn finish(document: &mut Value) -> Result<(), serde_json::Error> {
    // The edge refuses a head that is too large, whatever it is for, and everything but a probe when
    // too many clients are connected or too much waits to be sent.
    let probe = serde_json::to_value(responses::AnyRequest::responses())?;
    let others = serde_json::to_value(responses::AnyButHealthz::responses())?;
    let operations = entries(document.get_mut("paths")).flat_map(|(path, item)| {
        let common = if path == "/healthz" { &probe } else { &others };
        members(Some(item)).map(move |operation| (common, operation))
    });
    for (common, operation) in operations {
        let Some(operation) = operation.as_object_mut() else {
            continue;
        };
        parameters(operation);
        let responses = operation.entry("responses").or_insert_with(|| json!({}));
        if let (Some(responses), Some(common)) = (responses.as_object_mut(), common.as_object()) {
            for (status, response) in common {
                responses.entry(status).or_insert_with(|| response.clone());
            }
        }
        for response in members(operation.get_mut("responses")) {
            response_headers(response);
            for content in members(response.get_mut("content")) {
                give_example(content);
            }
        }
    }
    // A method that a path does not take is no operation, so its answer has no place but this.
    let mut wrong_method = serde_json::to_value(responses::WrongMethod::responses())?;
    for response in members(Some(&mut wrong_method)) {
        response_headers(response);
        if let Some(headers) = response.get_mut("headers").and_then(Value::as_object_mut) {
            headers.insert(
                "Allow".to_owned(),
                json!({
                    "description": "The methods that the path takes.", "required": true,
                    "schema": {"type": "string"}, "example": "GET, HEAD, POST",
                }),
            );
        }
    }
    let response = wrong_method
        .get_mut("405")
        .map(Value::take)
        .unwrap_or_default();
    if let Some(components) = document
        .get_mut("components")
        .and_then(Value::as_object_mut)
    {
        components.insert(
            "responses".to_owned(),
            json!({"MethodNotAllowed": response}),
        );
    }
    Ok(())
}

/// The headers that every request may have.
fn parameters(operation: &mut Map<String, Value>) {
    let all = operation.entry("parameters").or_insert_with(|| json!([]));
    let Some(all) = all.as_array_mut() else {
        return;
    };
    for parameter in all.iter_mut() {
        not_null(parameter);
        let name = parameter
            .get("name")
            .and_then(Value::as_str)
            .map(str::to_owned);
        name_example(parameter, name.as_deref().unwrap_or_default());
    }
    for (name, description, example) in [
        (
            "X-Request-Id",
            "Comes back in the answer and is in the logs, when it is 1 to 128 visible ASCII characters.",
            "checkout-7f3a",
        ),
        (
            "traceparent",
            "W3C Trace Context: passed on into the logs and the events, when it is valid.",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
    ] {
        // No constraints: what does not fit is not refused but left out of account.
        all.push(json!({
            "name": name, "in": "header", "required": false, "description": description,
            "schema": {"type": "string"}, "example": example,
        }));
    }
}

/// The headers that every answer has.
fn response_headers(response: &mut Value) {
    for (name, header) in entries(response.get_mut("headers")) {
        name_example(header, name);
        // What may be missing is an `Option` in the annotation, so utoipa says it may be null.
        let always = !not_null(header);
        if let Some(header) = header.as_object_mut() {
            header.insert("required".to_owned(), always.into());
        }
    }
    let Some(response) = response.as_object_mut() else {
        return;
    };
    let headers = response.entry("headers").or_insert_with(|| json!({}));
    for (name, description, example) in [
        (
            "X-Request-Id",
            "The id of the request: the client's own, or a new one.",
            "checkout-7f3a",
        ),
        ("X-Content-Type-Options", "Always the same.", "nosniff"),
        (
            "Cache-Control",
            "`no-store`, except for the files of the reference.",
            "no-store",
        ),
    ] {
        if let Some(headers) = headers.as_object_mut() {
            let header = json!({
                "description": description, "required": true, "schema": {"type": "string"},
                "example": example,
            });
            headers.insert(name.to_owned(), header);
        }
    }
}

/// utoipa takes an `Option` for a value that may be null. A parameter or a header may be left out,
/// but there is no way to send null in one. True when it was an `Option`.
fn not_null(parameter: &mut Value) -> bool {
    let Some(schema) = parameter.get_mut("schema") else {
        return false;
    };
    let null = json!("null");
    if let Some(kinds) = schema.get_mut("type").and_then(Value::as_array_mut) {
        kinds.retain(|kind| *kind != null);
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            if let Some(schema) = schema.as_object_mut() {
                schema.insert("type".to_owned(), kind);
            }
        }
        return true;
    }
    if let Some(choices) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        choices.retain(|choice| choice.get("type") != Some(&null));
        if let [choice] = choices.as_slice() {
            *schema = choice.clone();
            return true;
        }
    }
    false
}

/// Puts an example beside each schema that has one in the list below.
fn give_example(content: &mut Value) {
    let Some(content) = content.as_object_mut() else {
        return;
    };
    if content.contains_key("example") || content.contains_key("examples") {
        return;
    }
    let named = |schema: &Value| schema.get("$ref").and_then(Value::as_str).and_then(example);
    let schema = content.get("schema").unwrap_or(&Value::Null);
    let found = named(schema).or_else(|| Some(json!([schema.get("items").and_then(named)?])));
    if let Some(found) = found {
        content.insert("example".to_owned(), found);
    }
}

/// An example of a schema.
fn example(reference: &str) -> Option<Value> {
    let order = json!({
        "id": "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071", "product_id": "sku-1", "quantity": 3,
        "status": "pending", "customer_id": null, "metadata": {"colour": "blue"}, "version": 1,
        "created_at": "2026-11-22T06:19:00.123456Z", "updated_at": "2026-11-22T06:19:00.123456Z",
    });
    match reference.rsplit('/').next()? {
        "Order" => Some(order),
        "OrderEvent" => Some(json!({
            "specversion": "1.0", "id": "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071.1",
            "source": "/api/v1/orders", "type": "order.created",
            "subject": "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071",
            "time": "2026-11-22T06:19:00.123456Z", "datacontenttype": "application/json",
            "sequence": "1", "data": order,
        })),
        "Service" => Some(json!({
            "service": "order-service", "version": env!("CARGO_PKG_VERSION"),
            "links": {
                "orders": "/api/v1/orders", "events": "/api/v1/events", "docs": "/docs",
                "openapi": "/openapi.json", "ready": "/readyz",
            },
        })),
        "Health" => Some(json!({"status": "ok"})),
        _ => None,
    }
}

/// Puts an example into a parameter or a header that has none.
fn name_example(item: &mut Value, name: &str) {
    let example = match name {
        "Retry-After" => "1",
        "id" | "starting_after" => "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071",
        "status" => "pending",
        "product_id" => "sku-1",
        "customer_id" => "customer-7",
        "file" => "swagger-ui.css",
        "Idempotency-Key" => "7d1c1f0e-8a51-4f0e-9f3a-6f1f5a0d9d11",
        "Last-Event-ID" => "AgAAAAAAAAMDAAAAAAAAAAwBmaPEXW5_gJobLD1OX2BxAAAAAQAGYNdz999A",
        "Location" => "/api/v1/orders/0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071",
        "ETag" => "\"1\"",
        "Idempotency-Replayed" => "true",
        "Link" => {
            "</api/v1/events?after=AgAAAAAAAAMDAAAAAAAAAAwBmaPEXW5_gJobLD1OX2BxAAAAAQAGYNdz999A&limit=100>; rel=\"next\""
        }
        "after" => {
            // A cursor brings its own; this is the version of an order.
            let number = item
                .get("schema")
                .is_some_and(|schema| schema.get("format").is_some());
            if number && let Some(item) = item.as_object_mut() {
                item.entry("example").or_insert_with(|| json!(1));
            }
            return;
        }
        _ => return,
    };
    if let Some(item) = item.as_object_mut() {
        let number = example.parse::<u32>().map(Value::from);
        item.entry("example")
            .or_insert_with(|| number.unwrap_or_else(|_| json!(example)));
    }
}

/// The entries of an object.
fn entries(value: Option<&mut Value>) -> impl Iterator<Item = (&String, &mut Value)> {
    value.and_then(Value::as_object_mut).into_iter().flatten()
}

/// The values of an object or an array.
fn members(value: Option<&mut Value>) -> Box<dyn Iterator<Item = &mut Value> + '_> {
    match value {
        Some(Value::Object(object)) => Box::new(object.values_mut()),
        Some(Value::Array(array)) => Box::new(array.iter_mut()),
        _ => Box::new(std::iter::empty()),
    }
}
