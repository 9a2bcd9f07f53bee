//! The feed as server-sent events (HTML, section 9.2).
//!
//! Nothing is buffered for a client: the next page is read when the connection has room for it. A
//! client that reads nothing at all is cut off by the kernel (`TCP_USER_TIMEOUT`, see
//! `server/listen.rs`) and may resume where it was.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::{Stream, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use crate::api::errors::cursor_expired;
use crate::api::event_json;
use crate::api::state::ApiState;
use crate::http::activity::Activity;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::http::request::context::RequestContext;
use crate::store::{Cursor, Event, FeedReader, Look};

/// The type of a stream of server-sent events.
pub(crate) const MEDIA_TYPE: &str = "text/event-stream";
/// How often a quiet stream says that it lives, so that nobody between takes it for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The beginning: how soon to come back after the end, in milliseconds.
const HELLO: &str = "retry: 1000\n\n";
/// How long to wait before asking a database again that did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// The head of the response.
pub(crate) fn head() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_TYPE, MEDIA_TYPE))
        .insert_header((CACHE_CONTROL, "no-store"))
        // Asks nginx not to collect the response before it passes it on.
        .insert_header(("X-Accel-Buffering", "no"));
    response
}

/// The response that does not end by itself, if the events behind the cursor can be read. A client that
/// has closed its side is gone: nobody else would end the stream before a heartbeat fails, and until
/// then it would count.
pub(crate) async fn response(
    context: &RequestContext,
    api: &ApiState,
    request: &HttpRequest,
    after: Option<Cursor>,
) -> Result<HttpResponse, Problem> {
    let activity = request.conn_data::<Rc<Activity>>().map(Rc::clone);
    let activity = activity.unwrap_or_default();
    let mut reader = api.store.follow(after)?;
    let look = tokio::select! {
        biased;
        look = context.within(reader.look(), ProblemKind::Timeout) => look??,
        // It may still read, and nothing is wrong with its request.
        () = activity.left() => return Ok(head().body(HELLO)),
    };
    let events = match look {
        Look::Events(events) => events,
        Look::Expired { oldest } => return Err(cursor_expired(oldest)),
    };
    // Sends the head at once.
    let mut hello = HELLO.to_owned();
    write_page(&mut hello, &events);
    let chunks = stream::once(async { Bytes::from(hello) })
        .chain(follow(reader, api.drain.clone(), activity))
        .map(Ok::<_, Infallible>);
    Ok(head().streaming(chunks))
}

fn follow(
    reader: FeedReader,
    drain: CancellationToken,
    activity: Rc<Activity>,
) -> impl Stream<Item = Bytes> {
    stream::unfold(Some(reader), move |reader| {
        let (drain, activity) = (drain.clone(), Rc::clone(&activity));
        async move {
            let mut reader = reader?;
            let next = tokio::select! {
                biased;
                () = drain.cancelled() => None,
                () = activity.left() => return None,
                next = tokio::time::timeout(HEARTBEAT, reader.next()) => Some(next),
            };
            match next {
                // A client that comes back after the end learns whether its cursor has expired.
                None | Some(Ok(Ok(Look::Expired { .. }))) => Some((end(&reader), None)),
                Some(Ok(Ok(Look::Events(events)))) => {
                    let mut text = String::new();
                    write_page(&mut text, &events);
                    Some((text.into(), Some(reader)))
                }
                Some(Ok(Err(error))) => {
                    log::debug!(error:%; "a stream of events waits for the database");
                    tokio::time::sleep(RETRY).await;
                    Some((heartbeat(), Some(reader)))
                }
                Some(Err(_)) => Some((heartbeat(), Some(reader))),
            }
        }
    })
}

fn heartbeat() -> Bytes {
    Bytes::from_static(b":\n\n")
}

/// The end: an id without data moves the client's place and shows it nothing.
fn end(reader: &FeedReader) -> Bytes {
    let id = reader.cursor().map(|cursor| format!("id: {cursor}\n"));
    format!(": ending\n{}\n", id.unwrap_or_default()).into()
}

fn write_page(text: &mut String, events: &[Arc<Event>]) {
    for event in events {
        let kind = event_json::kind(event);
        let written = event_json::json(event).map(|json| {
            // A carriage return ends a line as well as a line feed does. The service writes JSON without
            // either, so that one `data` line holds it; what came from elsewhere, by a migration or by
            // hand, may have some between its tokens. Inside of strings JSON has no raw control characters.
            let data = json.replace(['\r', '\n'], " ");
            write!(
                text,
                "id: {}\nevent: {kind}\ndata: {data}\n\n",
                event.cursor
            )
        });
        if let Err(error) = written {
            log::error!(error:%, order_id:% = event.order_id; "an event is not JSON");
        }
    }
}
