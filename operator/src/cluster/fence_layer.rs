//! A layer around the transport of the client. It rejects writes when this process is not the leader, and records
//! when watches deliver data.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use kube::client::Body;
use thiserror::Error;
use tower::{BoxError, Layer, Service};

use super::watch_activity::WatchActivity;
use crate::leader::Fence;
use crate::metrics::Metrics;

/// A write was rejected because another process may be the leader.
#[derive(Clone, Copy, Debug, Error)]
#[error("this process is not the leader any more: nothing is written")]
pub struct Fenced;

/// Wraps the transport of a client in a [`FenceService`].
#[derive(Clone)]
pub struct FenceLayer {
    /// Allows writes while this process is the leader.
    pub fence: Fence,
    /// Records when watches deliver data.
    pub watches: WatchActivity,
    /// Counts writes.
    pub metrics: Arc<Metrics>,
}

impl<S> Layer<S> for FenceLayer {
    type Service = FenceService<S>;

    fn layer(&self, inner: S) -> FenceService<S> {
        FenceService {
            inner,
            guard: self.clone(),
        }
    }
}

/// A transport that writes only while this process is the leader.
#[derive(Clone)]
pub struct FenceService<S> {
    inner: S,
    guard: FenceLayer,
}

impl<S, B> Service<Request<Body>> for FenceService<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<WatchedBody<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        if is_write(&request) {
            // A process becomes the leader by writing the Lease.
            if !is_lease(&path) {
                if !self.guard.fence.allows_writes() {
                    return Box::pin(std::future::ready(Err(Fenced.into())));
                }
                self.guard
                    .metrics
                    .writes
                    .with_label_values(&[resource(&path)])
                    .inc();
                // Establishing a connection may take long, so `connect` checks the fence again afterwards.
                request.extensions_mut().insert(self.guard.fence.clone());
            }
        }
        let watches = is_watch(&request).then(|| (self.guard.watches.clone(), path));
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await.map_err(Into::into)?;
            if let Some((watches, path)) =
                watches.as_ref().filter(|_| response.status().is_success())
            {
                watches.record(path);
            }
            Ok(response.map(|inner| WatchedBody { inner, watches }))
        })
    }
}

fn is_write(request: &Request<Body>) -> bool {
    !matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    )
}

fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| pair == "watch=true")
}

fn is_lease(path: &str) -> bool {
    path.starts_with("/apis/coordination.k8s.io/")
}

/// Returns the plural in a path, from a fixed list, so that the label has few values.
fn resource(path: &str) -> &'static str {
    const KNOWN: [&str; 10] = [
        "configmaps",
        "deployments",
        "events",
        "horizontalpodautoscalers",
        "jobs",
        "networkpolicies",
        "orderservices",
        "poddisruptionbudgets",
        "serviceaccounts",
        "services",
    ];
    path.split('/')
        .find_map(|part| KNOWN.into_iter().find(|known| *known == part))
        .unwrap_or("other")
}

/// The body of a response. If it is the response to a watch, each frame is recorded.
pub struct WatchedBody<B> {
    inner: B,
    watches: Option<(WatchActivity, String)>,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for WatchedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let (Poll::Ready(Some(Ok(_))), Some((watches, path))) = (&polled, &self.watches) {
            watches.record(path);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
