//! The client, built as kube does by default, but with the fence at the connection and small buffers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt as _};
use kube::{Client, Config};
use tower::{BoxError, Service, ServiceBuilder};

use super::fence_layer::{FenceLayer, Fenced};
use super::watch_activity::WatchActivity;
use crate::leader::{Fence, Moment};
use crate::metrics::Metrics;

/// Timeout of a connection and its TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of each write to the connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// An idle connection is closed after this time, so that the buffers of a burst are freed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// A command writes within this time after its start.
const LONGEST_COMMAND: Duration = Duration::from_secs(86_400);
/// Size of the read buffer of a connection.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// Creates a client that writes only while this process is the leader.
///
/// # Errors
/// When the configuration is not supported.
pub fn connect(config: Config, guard: &FenceLayer) -> kube::Result<Client> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connect_with(config, connector, guard)
}

/// Creates a client for the commands of a person, whose writes do not depend on leadership.
///
/// # Errors
/// When the configuration is not supported.
pub(crate) fn connect_unfenced(config: Config, metrics: Arc<Metrics>) -> kube::Result<Client> {
    let fence = Fence::default();
    fence.allow(Moment::now(), LONGEST_COMMAND);
    let watches = WatchActivity::default();
    let guard = FenceLayer {
        fence,
        watches,
        metrics,
    };
    connect(config, &guard)
}

/// Like [`connect`], but with a different connector.
///
/// # Errors
/// When the configuration is not supported.
pub fn connect_with<C>(config: Config, connector: C, guard: &FenceLayer) -> kube::Result<Client>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: std::error::Error + Send + Sync + 'static,
{
    if let Some(proxy_url) = config.proxy_url.clone().map(Box::new) {
        // Refuse rather than bypass a configured proxy.
        return Err(kube::Error::ProxyProtocolUnsupported { proxy_url });
    }
    let https = config.rustls_https_connector_with_connector(connector)?;
    let mut connector = TimeoutConnector::new(https);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(Some(WRITE_TIMEOUT));
    let wire = hyper_util::client::legacy::Builder::new(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .http1_read_buf_exact_size(READ_BUFFER_BYTES)
        .build(connector);
    // No retries here: the complete reconcile is retried.
    let service = ServiceBuilder::new()
        .layer(guard)
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_request(fence_body)
        .map_err(BoxError::from)
        .service(wire);
    Ok(Client::new(service, config.default_namespace))
}

/// Wraps the body of a write with the fence that the request carries.
fn fence_body(mut request: Request<Body>) -> Request<FencedBody> {
    let fence = request.extensions_mut().remove::<Fence>();
    request.map(|inner| FencedBody { inner, fence })
}

/// A body that fails when the fence does not allow writes any more. hyper polls the body after the connection is
/// established and before it sends the first byte, so a request whose body fails is never sent.
struct FencedBody {
    inner: Body,
    fence: Option<Fence>,
}

impl HttpBody for FencedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self
            .fence
            .as_ref()
            .is_some_and(|fence| !fence.allows_writes())
        {
            return Poll::Ready(Some(Err(Fenced.into())));
        }
        Pin::new(&mut self.inner)
            .poll_frame(context)
            .map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
