//! The feed as server-sent events (HTML, section 9.2).
//!
//! Nothing is buffered for a client: the next page is read when the connection has room for it. A
//! client that reads nothing at all is cut off by the kernel (`TCP_USER_TIMEOUT`, see
//! `server/listen.rs`) and may resume where it was.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Bytes;
use futures_util::{Stream, StreamExt as _, stream};

use super::{Api, events};
use crate::shutdown::Drain;
use crate::store::{Cursor, Event, FeedReader};

/// The type of a stream of server-sent events.
pub(super) const MEDIA_TYPE: &str = "text/event-stream";
/// How often a quiet stream says that it lives, so that nobody between takes it for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long to wait before asking a database again that did not answer.
const RETRY: Duration = Duration::from_secs(1);
/// Few, as every stream may hold a page that its client is slow to take.
const PAGE: u32 = 32;

/// The answer that never ends; to HEAD only its head, or the connection would never be free again.
pub(super) fn answer(api: &Api, method: &Method, after: Cursor) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_TYPE, MEDIA_TYPE))
        .insert_header((CACHE_CONTROL, "no-store"))
        // Asks nginx not to collect the answer before it passes it on.
        .insert_header(("X-Accel-Buffering", "no"));
    if method == Method::HEAD {
        return response.finish();
    }
    let reader = api.store.follow(after);
    // Sends the head at once, and says how soon to come back.
    let hello = Bytes::from_static(b"retry: 1000\n\n");
    let chunks = stream::once(async { hello })
        .chain(follow(reader, api.drain.clone()))
        .map(Ok::<_, Infallible>);
    response.streaming(chunks)
}

fn follow(reader: FeedReader, drain: Drain) -> impl Stream<Item = Bytes> {
    stream::unfold(Some(reader), move |reader| {
        let drain = drain.clone();
        async move {
            let mut reader = reader?;
            let next = tokio::select! {
                biased;
                () = drain.started() => None,
                next = tokio::time::timeout(HEARTBEAT, reader.next(PAGE)) => Some(next),
            };
            match next {
                // The end: an id without data moves the client's place and shows it nothing.
                None => Some((
                    Bytes::from(format!(": ending\nid: {}\n\n", reader.cursor())),
                    None,
                )),
                Some(Ok(Ok(events))) => Some((page(&events), Some(reader))),
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

fn page(events: &[Event]) -> Bytes {
    let mut text = String::new();
    for event in events {
        let kind = events::kind(event);
        // The service writes JSON without line breaks, so that one `data` line holds it.
        // What came from elsewhere, by a migration or by hand, may have some between its tokens.
        let written = events::json(event).map(|json| {
            let data = json.replace('\n', " ");
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
    text.into()
}
