//! Events as JSON: CloudEvents 1.0.

use actix_web::web::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::EventType;
use crate::http::problem::Problem;
use crate::order_json;
use crate::store::Event;

/// A change of an order (CloudEvents 1.0).
#[derive(Serialize, ToSchema)]
#[schema(as = OrderEvent)]
pub(crate) struct EventJson<'a> {
    /// The version of CloudEvents, always 1.0.
    #[schema(example = "1.0")]
    specversion: &'static str,
    /// The id of the event, unique among all events.
    #[schema(example = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071.1")]
    id: String,
    /// The path of the orders, always the same.
    #[schema(example = "/api/v1/orders")]
    source: &'static str,
    /// `order.created`, `order.updated`, `order.imported` (from another system or an archive), `order.archived` (the
    /// order was written to an archive and removed) or `order.erased` (its personal data was erased).
    #[schema(example = "order.created")]
    r#type: &'static str,
    /// The id of the order.
    #[schema(example = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071")]
    subject: Uuid,
    /// The time of the change.
    #[schema(format = DateTime, example = "2026-11-22T06:19:00.123456Z")]
    time: String,
    /// The media type of `data`, always the same.
    #[schema(example = "application/json")]
    datacontenttype: &'static str,
    /// The version of the order after the change.
    #[schema(example = "1")]
    sequence: String,
    /// The W3C trace context of the change, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    )]
    traceparent: Option<&'a str>,
    /// What kind of caller made the change: `unauthenticated`, `api_key`, `service_account`, `system` (a command of the
    /// service, such as an import) or `unknown` (the subject of another token).
    #[schema(example = "api_key")]
    authtype: &'a str,
    /// Who made the change: the id of an API key, or the issuer and the subject of a token, with `|` between them.
    /// Absent for a caller without credentials. A subject that contains `@` is replaced by its SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "warehouse")]
    authid: Option<&'a str>,
    /// The order after the change.
    #[schema(value_type = order_json::OrderJson<'static>)]
    data: &'a RawValue,
}

impl<'a> TryFrom<&'a Event> for EventJson<'a> {
    type Error = serde_json::Error;

    fn try_from(event: &'a Event) -> Result<Self, serde_json::Error> {
        Ok(Self {
            specversion: "1.0",
            id: format!("{}.{}", event.order_id, event.version),
            source: "/api/v1/orders",
            r#type: event_type(event),
            subject: event.order_id,
            time: order_json::rfc3339(&event.occurred_at),
            datacontenttype: "application/json",
            sequence: event.version.to_string(),
            traceparent: event.traceparent.as_deref(),
            authtype: &event.authtype,
            authid: event.authid.as_deref(),
            // The stored document is already in the form that clients read.
            data: serde_json::from_str(&event.data)?,
        })
    }
}

/// The `type` of an event.
pub(crate) fn event_type(event: &Event) -> &'static str {
    match event.event_type {
        EventType::Created => "order.created",
        EventType::Updated => "order.updated",
        EventType::Imported => "order.imported",
        EventType::Archived => "order.archived",
        EventType::Erased => "order.erased",
    }
}

/// Formats an event as JSON.
pub(crate) fn to_json(event: &Event) -> Result<String, serde_json::Error> {
    serde_json::to_string(&EventJson::try_from(event)?)
}

/// Formats a batch of events as a JSON array. The buffer is allocated once, and each event is freed as soon as it
/// is written, so that the batch is in memory only once.
pub(crate) fn batch(events: Vec<Event>) -> Result<Bytes, Problem> {
    let length = events.iter().map(Event::json_bytes).sum::<usize>();
    let mut json = Vec::with_capacity(length + 2);
    json.push(b'[');
    for event in events {
        if json.len() > 1 {
            json.push(b',');
        }
        let body = EventJson::try_from(&event).map_err(Problem::internal)?;
        serde_json::to_writer(&mut json, &body).map_err(Problem::internal)?;
    }
    json.push(b']');
    Ok(json.into())
}
