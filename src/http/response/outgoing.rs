//! The body of a response while it is sent.
//!
//! Actix copies each part of a body completely into its own buffer. This type passes a part in pieces, each after
//! the socket has accepted the previous ones, so that a large response is in memory once and not twice.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use pin_project_lite::pin_project;

use super::budget::{Permit, ResponseBudget, SMALL};
use crate::domain::Caller;
use crate::http::activity::RequestGuard;

/// The maximum number of bytes that Actix gets at once. It does not poll for more while 32 KiB are not written.
const MAX_PIECE: usize = 32 * 1024;

pin_project! {
    /// A body in pieces. The connection is busy until it is dropped.
    pub(crate) struct Outgoing<B> {
        #[pin]
        body: B,
        // The rest of the last part, which has not been passed to Actix.
        part: Bytes,
        // The permit for a part of a stream. A body of a known size has one permit for all of it.
        permit: Option<Permit>,
        // The budget of a stream, and the caller whose share it uses.
        stream: Option<(ResponseBudget, Option<Arc<Caller>>)>,
        _guard: Option<RequestGuard>,
    }
}

impl<B: MessageBody> Outgoing<B> {
    pub(crate) fn new(
        body: B,
        guard: Option<RequestGuard>,
        budget: &ResponseBudget,
        caller: Option<&Arc<Caller>>,
    ) -> Self {
        let is_stream = body.size() == BodySize::Stream;
        let stream = is_stream.then(|| (budget.clone(), caller.cloned()));
        Self {
            body,
            part: Bytes::new(),
            permit: None,
            stream,
            _guard: guard,
        }
    }
}

impl<B: MessageBody> MessageBody for Outgoing<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        if this.part.is_empty() {
            *this.permit = None;
            match ready!(this.body.poll_next(cx)) {
                Some(Ok(part)) => *this.part = part,
                end => return Poll::Ready(end),
            }
            if let Some((budget, caller)) = this.stream
                && this.part.len() > SMALL
            {
                *this.permit = Some(budget.charge(caller.as_deref(), this.part.len()));
            }
        }
        let piece = this.part.split_to(this.part.len().min(MAX_PIECE));
        Poll::Ready(Some(Ok(piece)))
    }
}
