//! The endpoints of events (CloudEvents 1.0): the events of one order, and the feed of all orders.

use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE, LINK};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use uuid::Uuid;

use super::errors::{cursor_expired, order_not_found};
use super::event_json::{EventJson, batch};
use super::openapi::parameters::{
    FeedParameters, LastEventId, OrderEventsParameters, OrderId, PageSize,
};
use super::openapi::responses::{FeedErrors, OrderQueryErrors, ServerErrors};
use super::state::ApiState;
use super::{event_stream, paths, query};
use crate::domain::Violation;
use crate::http::HttpState;
use crate::http::path::Parameter;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::http::request::context::RequestContext;
use crate::http::request::negotiate::accepts;
use crate::http::response::only_head;
use crate::store::{Cursor, EventPage, Feed, PagePermit, WithPermit};

const BATCH_MEDIA_TYPE: &str = "application/cloudevents-batch+json";

/// List the events of an order, oldest first.
///
/// Each version of the order has one event, which carries the order as it was then. Events that are older than
/// `EVENT_RETENTION` are removed. The events of an archived order remain until then, and the last is `order.archived`.
#[utoipa::path(
    get,
    path = paths::ORDER_EVENTS.template,
    operation_id = "listOrderEvents",
    tag = "events",
    params(OrderId, OrderEventsParameters, PageSize),
    responses(
        (
            status = 200,
            description = "A page of events.",
            body = [EventJson<'_>],
            content_type = "application/cloudevents-batch+json",
            headers(("Link")),
        ),
        OrderQueryErrors,
        ServerErrors,
    )
)]
pub(super) async fn list_of_order(
    context: RequestContext,
    api: Data<ApiState>,
    request: HttpRequest,
    Parameter(id): Parameter,
) -> Result<HttpResponse, Problem> {
    let (after, limit) = query::order_events(&request)?;
    let id = query::order_id(&id).ok_or_else(order_not_found)?;
    let page = api.store.order_events(context.caller(), id, after, limit);
    // The edge charges the response budget without an await in between, so the permit of the page can be dropped.
    let WithPermit {
        page,
        permit: _permit,
    } = context.within(page, ProblemKind::Timeout).await??;
    if page.events.is_empty() && !exists(&context, &api, id, after).await? {
        return Err(order_not_found());
    }
    let mut response = HttpResponse::Ok();
    if let Some(last) = page.events.last()
        && page.more
    {
        let next = format!(
            "/api/v1/orders/{id}/events?after={}&limit={limit}",
            last.version
        );
        response.insert_header((LINK, format!("<{next}>; rel=\"next\"")));
    }
    Ok(response
        .insert_header((CONTENT_TYPE, BATCH_MEDIA_TYPE))
        .body(batch(page.events)?))
}

/// Whether an order without events after a version exists, or has existed and has earlier events. Retention may have
/// removed all events of an order that has not changed since, and an archived order has events and nothing else.
async fn exists(
    context: &RequestContext,
    api: &ApiState,
    id: Uuid,
    after: i32,
) -> Result<bool, Problem> {
    let order = api.store.get(context.caller(), id);
    if context
        .within(order, ProblemKind::Timeout)
        .await??
        .is_some()
    {
        return Ok(true);
    }
    if after <= 0 {
        return Ok(false);
    }
    let events = api.store.order_events(context.caller(), id, 0, 1);
    let events = context.within(events, ProblemKind::Timeout).await??;
    Ok(!events.page.events.is_empty())
}

/// Follow the events of all orders, in commit order.
///
/// A client that follows `Link` with `rel="next"` misses no event and receives none twice. A page ends at
/// 1 MiB, so it may be shorter than `limit` although there are more events. If the database lost events that
/// the client has read, or removed events that it has not read yet, the response is 410 `cursor-expired`,
/// never a silent gap. With `Accept: text/event-stream` the response is a live stream of server-sent events,
/// whose `id` is the cursor.
#[utoipa::path(
    get,
    path = paths::EVENTS.template,
    operation_id = "listEvents",
    tag = "events",
    params(FeedParameters, PageSize, LastEventId),
    responses(
        (
            status = 200,
            description = "A page of events, or a stream of them.",
            content(
                ([EventJson<'_>] = "application/cloudevents-batch+json"),
                (String = "text/event-stream", example = "id: XW5_gJobLD1OX2Bxk3Jv0aQ9mZc7Yt2LwP8nRe5UsHdKfXbV1oGi4TjCqNyMuE6lDzWhSaOBpIxQrJFg\nevent: order.created\ndata: {\"specversion\":\"1.0\"}\n\n"),
            ),
            headers(("Link")),
        ),
        FeedErrors,
        ServerErrors,
    )
)]
pub(super) async fn feed(
    context: RequestContext,
    api: Data<ApiState>,
    http: Data<HttpState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (after, limit) = query::feed(&request)?;
    let last = last_event_id(&request)?;
    if wants_stream(&request) {
        let after = last.or(after);
        return if request.method() == Method::HEAD {
            // Sends only the head, with the status that a stream would have.
            let _ = page(&context, &api, after, 1).await?;
            Ok(only_head(event_stream::head()))
        } else {
            event_stream::response(&context, &api, &http, &request, after).await
        };
    }
    let (page, next, _permit) = page(&context, &api, after, limit).await?;
    Ok(HttpResponse::Ok()
        .insert_header((
            LINK,
            format!("</api/v1/events?after={next}&limit={limit}>; rel=\"next\""),
        ))
        .insert_header((CONTENT_TYPE, BATCH_MEDIA_TYPE))
        .body(batch(page.events)?))
}

/// Reads a page of the feed. Returns it with its permit and the cursor to continue from.
async fn page(
    context: &RequestContext,
    api: &ApiState,
    after: Option<Cursor>,
    limit: u32,
) -> Result<(EventPage, Cursor, PagePermit), Problem> {
    let read = api.store.feed(context.caller(), after, limit);
    let WithPermit { page, permit } = context.within(read, ProblemKind::Timeout).await??;
    match page {
        Feed::Page { page, next } => Ok((page, next, permit)),
        Feed::Expired { oldest } => Err(cursor_expired(oldest)),
    }
}

fn wants_stream(request: &HttpRequest) -> bool {
    accepts(request.headers(), &ACCEPT, event_stream::MEDIA_TYPE)
}

/// The cursor of a client that resumes a stream (HTML, section 9.2.4).
fn last_event_id(request: &HttpRequest) -> Result<Option<Cursor>, Problem> {
    let invalid = || Violation::new("/Last-Event-ID", "must be an id from a stream");
    let Some(header) = request.headers().get("last-event-id") else {
        return Ok(None);
    };
    let text = header.to_str().map_err(|_| invalid())?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| invalid().into())
}
