//! The feed as server-sent events (HTML, section 9.2).
//!
//! Nothing is buffered for a client: the next page is read when the connection can send it. The kernel
//! closes the connection of a client that reads nothing (`TCP_USER_TIMEOUT`, see `http/server.rs`). The
//! client can resume the stream from its last id.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::{Stream, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use crate::access::{Scope, Standing};
use crate::api::errors::cursor_expired;
use crate::api::event_json;
use crate::api::state::ApiState;
use crate::domain::Caller;
use crate::http::activity::Activity;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::http::request::context::RequestContext;
use crate::http::{HttpState, ResponseBudget};
use crate::store::{Cursor, FeedReader, NextEvents, StreamEvent};

/// The media type of a stream of server-sent events.
pub(crate) const MEDIA_TYPE: &str = "text/event-stream";
/// The interval of the comments on a stream without events. They keep proxies from closing the connection
/// as idle.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The first lines of a stream: after its end the client reconnects in 1000 ms.
const PREAMBLE: &str = "retry: 1000\n\n";
/// The pause before the next read after the database failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Creates the head of the response.
pub(crate) fn head() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_TYPE, MEDIA_TYPE))
        .insert_header((CACHE_CONTROL, "no-store"))
        // Makes nginx forward the response without buffering it.
        .insert_header(("X-Accel-Buffering", "no"));
    response
}

/// Creates the response that streams the events after a cursor.
///
/// The stream ends when the client closes its side of the connection. Otherwise it would hold its permit
/// until a heartbeat fails.
///
/// # Errors
/// A problem if the first page cannot be read.
pub(crate) async fn response(
    context: &RequestContext,
    api: &ApiState,
    http: &HttpState,
    request: &HttpRequest,
    after: Option<Cursor>,
) -> Result<HttpResponse, Problem> {
    let activity = request.conn_data::<Rc<Activity>>().map(Rc::clone);
    let activity = activity.unwrap_or_default();
    let header = request.headers().get(AUTHORIZATION);
    let standing = Standing::new(
        &api.access,
        header.map(HeaderValue::as_bytes),
        context.principal(),
        Scope::EventsRead,
    );
    let mut reader = api.store.follow(context.caller(), after)?;
    let next = tokio::select! {
        biased;
        next = context.within(reader.try_next(), ProblemKind::Timeout) => next??,
        // The client may still read, and its request is valid.
        () = activity.wait_for_close() => return Ok(head().body(PREAMBLE)),
    };
    let events = match next {
        NextEvents::Events(events) => events,
        NextEvents::Expired { oldest } => return Err(cursor_expired(oldest)),
    };
    // The first chunk is not empty, so that the head is sent at once.
    let mut preamble = PREAMBLE.to_owned();
    write_page(&mut preamble, &events);
    let share = (http.responses.clone(), Arc::clone(context.caller()));
    let chunks = stream::once(async { Bytes::from(preamble) })
        .chain(follow(reader, standing, share, api.drain.clone(), activity))
        .map(Ok::<_, Infallible>);
    Ok(head().streaming(chunks))
}

fn follow(
    reader: FeedReader,
    standing: Standing,
    (budget, caller): (ResponseBudget, Arc<Caller>),
    drain: CancellationToken,
    activity: Rc<Activity>,
) -> impl Stream<Item = Bytes> {
    stream::unfold(Some((reader, standing)), move |state| {
        let (drain, activity) = (drain.clone(), Rc::clone(&activity));
        let (budget, caller) = (budget.clone(), Arc::clone(&caller));
        async move {
            let (mut reader, mut standing) = state?;
            let next = budget.within_share(&caller, reader.next());
            let next = tokio::select! {
                biased;
                () = drain.cancelled() => None,
                () = standing.ended() => None,
                () = activity.wait_for_close() => return None,
                next = tokio::time::timeout(HEARTBEAT, next) => Some(next),
            };
            match next {
                // When the client reconnects, the response reports whether its cursor has expired.
                None | Some(Ok(Ok(NextEvents::Expired { .. }))) => Some((end(&reader), None)),
                Some(Ok(Ok(NextEvents::Events(events)))) => {
                    let mut text = String::new();
                    write_page(&mut text, &events);
                    Some((text.into(), Some((reader, standing))))
                }
                Some(Ok(Err(error))) => {
                    log::debug!(error:%; "an event stream waits for the database");
                    tokio::time::sleep(RETRY_DELAY).await;
                    Some((heartbeat(), Some((reader, standing))))
                }
                Some(Err(_)) => Some((heartbeat(), Some((reader, standing)))),
            }
        }
    })
}

fn heartbeat() -> Bytes {
    Bytes::from_static(b":\n\n")
}

/// The last lines of a stream. An id without data moves the cursor of the client but dispatches no event.
fn end(reader: &FeedReader) -> Bytes {
    let id = reader.cursor().map(|cursor| format!("id: {cursor}\n"));
    format!(": ending\n{}\n", id.unwrap_or_default()).into()
}

fn write_page(text: &mut String, events: &[Arc<StreamEvent>]) {
    for entry in events {
        let StreamEvent { event, cursor } = &**entry;
        let kind = event_json::event_type(event);
        let written = event_json::to_json(event).map(|json| {
            // One `data` line holds the event, and both line feed and carriage return end a line. The service
            // writes JSON without either. JSON from a migration or from manual changes may contain them between
            // its tokens. Raw control characters cannot occur inside JSON strings.
            let data = json.replace(['\r', '\n'], " ");
            write!(text, "id: {cursor}\nevent: {kind}\ndata: {data}\n\n")
        });
        if let Err(error) = written {
            log::error!(error:%, order_id:% = event.order_id; "a stored event is not JSON");
        }
    }
}
