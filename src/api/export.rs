//! Exports: all orders of a query as lines of JSON (NDJSON).
//!
//! The next page is read when the connection can send it, so an export has at most one page in memory. The page budget
//! counts a page until it is a part of the response, and the response budget until it is sent.
//!
//! An export that cannot continue must not look complete. Its body ends with an error, and the connection ends without
//! the last chunk (RFC 9112, section 8). The end of a response with HTTP/1.0 is the end of the connection, so there the
//! connection is reset. The service closes it in the same way if its process ends first.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use actix_web::http::{Method, Version};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::stream;
use tokio::time::{sleep, timeout};

use super::query;
use super::state::ApiState;
use crate::access::{Scope, Standing};
use crate::domain::Caller;
use crate::http::activity::Activity;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::http::request::context::RequestContext;
use crate::http::request::negotiate::prefers;
use crate::http::response::{budget, only_head};
use crate::http::{HttpState, ResponseBudget};
use crate::store::{ExportPage, ExportPermit, ListQuery, OrderExport, StoreError};

/// The media type of an export.
const MEDIA_TYPE: &str = "application/x-ndjson";
/// The pause before a page is read again after the database failed.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// Whether a client prefers an export to a page.
pub(super) fn is_requested(headers: &HeaderMap) -> bool {
    prefers(headers, MEDIA_TYPE, "application/json")
}

/// Creates the response to a request for an export. The response to HEAD has the status that an export would have.
///
/// # Errors
/// A problem if the query is not valid, or the first page cannot be read.
pub(super) async fn response(
    context: &RequestContext,
    api: &ApiState,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    let query = query::orders::export(request)?;
    if request.method() == Method::HEAD {
        let page = api
            .store
            .list(context.caller(), ListQuery { limit: 1, ..query });
        context.within(page, ProblemKind::Timeout).await??;
        return Ok(only_head(head()));
    }
    let http = request.app_data::<Data<HttpState>>();
    let http = http.ok_or_else(|| Problem::internal("the state of HTTP is missing"))?;
    let activity = request.conn_data::<Rc<Activity>>().map(Rc::clone);
    let header = request.headers().get(AUTHORIZATION);
    let standing = Standing::new(
        &api.access,
        header.map(HeaderValue::as_bytes),
        context.principal(),
        Scope::OrdersRead,
    );
    let mut reader = Reader {
        export: api.store.export(context.caller(), query)?,
        caller: Arc::clone(context.caller()),
        budget: http.responses.clone(),
        timeout: http.request_timeout,
    };
    let first = context.within(reader.first(), ProblemKind::Timeout);
    let pages = Pages {
        page: first.await??,
        reader,
        standing,
        activity: activity.unwrap_or_default(),
    };
    if request.version() < Version::HTTP_11 {
        pages.activity.set_incomplete(true);
    }
    Ok(head().streaming(stream::try_unfold(pages, Pages::next)))
}

fn head() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, MEDIA_TYPE));
    response
}

/// Why an export cannot continue.
#[derive(Debug, thiserror::Error)]
enum CutOff {
    #[error("its credential is no longer accepted")]
    Credential,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no page could be read within {after:?}{}", last.as_ref().map(|last| format!(": {last}")).unwrap_or_default())]
    Timeout {
        after: Duration,
        /// The last failure of the database, if any.
        last: Option<StoreError>,
    },
}

/// The body of an export.
struct Pages {
    /// The page to send next, if it has been read.
    page: Option<ExportPage>,
    reader: Reader,
    standing: Standing,
    activity: Rc<Activity>,
}

impl Pages {
    /// The next part of the body, which is not empty: to Actix, an empty part is the end of the body.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, CutOff> {
        loop {
            // The permits of the page are dropped when the edge counts its bytes, without an await in between.
            if let Some(ExportPage { lines, .. }) = self.page.take()
                && !lines.is_empty()
            {
                return Ok(Some((lines, self)));
            }
            if self.reader.export.is_complete() {
                self.activity.set_incomplete(false);
                return Ok(None);
            }
            let next = tokio::select! {
                biased;
                () = self.standing.ended() => Err(CutOff::Credential),
                next = self.reader.next() => next,
            };
            self.page = next.inspect_err(|cut_off| {
                let principal = &*self.reader.caller.id;
                log::warn!(principal, cause:% = cut_off; "an export was cut off");
            })?;
        }
    }
}

/// Reads pages within the caller's share of the response budget.
struct Reader {
    export: OrderExport,
    caller: Arc<Caller>,
    budget: ResponseBudget,
    /// For one page, from its first read on.
    timeout: Duration,
}

impl Reader {
    /// Reads the first page. Rejects the export if the caller has used up its share, as a page of a list would be.
    async fn first(&mut self) -> Result<Option<ExportPage>, Problem> {
        // Before the permit, because exports that wait for the share may be ahead.
        self.check_share()?;
        let permit = self.export.permit().await?;
        self.check_share()?;
        Ok(self.export.read(permit).await?)
    }

    fn check_share(&self) -> Result<(), Problem> {
        self.budget
            .check(Some(&self.caller))
            .map_err(|error| budget::problem(Some(&self.caller), error))
    }

    /// Reads the next page. Waits for its turn however long that takes, because other pages are read meanwhile, and
    /// then tries until the timeout.
    async fn next(&mut self) -> Result<Option<ExportPage>, CutOff> {
        let after = self.timeout;
        let mut permit = Some(self.permit().await?);
        let mut last = None;
        let reading = async {
            loop {
                let permit = match permit.take() {
                    Some(permit) => permit,
                    None => self.permit().await?,
                };
                match self.export.read(permit).await {
                    Err(error) if may_succeed_later(&error) => last = Some(error),
                    result => return result,
                }
                sleep(RETRY_DELAY).await;
            }
        };
        let read = timeout(after, reading).await;
        match read {
            Ok(page) => Ok(page?),
            Err(_) => Err(CutOff::Timeout { after, last }),
        }
    }

    /// Waits for a permit to read a page, and until the caller has not used up its share.
    ///
    /// The share is checked with the permit in hand. Otherwise many exports would pass the check at the same time and
    /// exceed the budget by a page each. No permit is held while the share is used up, because slow readers may use it
    /// for a long time. The exports of the caller get its share in turn. Otherwise an export that has sent a page would
    /// take what it has just released, and those that wait would get nothing until it is complete.
    async fn permit(&self) -> Result<ExportPermit, StoreError> {
        let is_free = || self.budget.check(Some(&self.caller)).is_ok();
        let free = || self.budget.wait_for_share(&self.caller);
        self.export.permit_when(is_free, free).await
    }
}

fn may_succeed_later(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable(_)
        | StoreError::StatementTimeout
        | StoreError::LockTimeout
        | StoreError::Overloaded
        | StoreError::ShareExceeded => true,
        StoreError::Internal(_) | StoreError::BatchTooLarge => false,
    }
}
