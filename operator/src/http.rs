//! A minimal HTTP/1.1 server for probes and scrapes: one GET per connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_REQUEST_BYTES: usize = 8192;
const MAX_CONNECTIONS: usize = 32;

/// A response.
pub(crate) struct Response {
    /// Code and reason phrase of the status line.
    pub status: &'static str,
    /// The `Content-Type`.
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

impl Response {
    /// Creates a plain text response.
    pub(crate) fn text(status: &'static str, text: impl Into<String>) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: text.into().into_bytes(),
        }
    }
}

/// Serves requests. `respond` maps the path of a request to its response.
pub(crate) async fn serve(
    listener: TcpListener,
    respond: impl Fn(&str) -> Response + Send + Sync + 'static,
) {
    let respond = Arc::new(respond);
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Usually the process has no free file descriptors: wait until some are closed.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = free.clone().try_acquire_owned() else {
            continue;
        };
        let respond = respond.clone();
        tokio::spawn(async move {
            // Errors and timeouts affect only the client.
            let _ = timeout(REQUEST_TIMEOUT, handle_connection(stream, &*respond)).await;
            drop(permit);
        });
    }
}

async fn handle_connection(
    mut stream: TcpStream,
    respond: &(impl Fn(&str) -> Response + ?Sized),
) -> std::io::Result<()> {
    let mut request = Vec::with_capacity(512);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let more = stream.read_buf(&mut request).await?;
        if more == 0 || request.len() > MAX_REQUEST_BYTES {
            return Ok(());
        }
    }
    let request = String::from_utf8_lossy(&request);
    let mut words = request.split_ascii_whitespace();
    let respond = match (words.next(), words.next()) {
        (Some("GET" | "HEAD"), Some(target)) => {
            respond(target.split('?').next().unwrap_or_default())
        }
        _ => Response::text("405 Method Not Allowed", "GET only\n"),
    };
    let Response {
        status,
        content_type,
        body,
    } = respond;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if !request.starts_with("HEAD") {
        stream.write_all(&body).await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn request(request: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, |path| match path {
            "/healthz" => Response::text("200 OK", "fine\n"),
            _ => Response::text("404 Not Found", "no\n"),
        }));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut respond = String::new();
        stream.read_to_string(&mut respond).await.unwrap();
        server.abort();
        respond
    }

    #[tokio::test]
    async fn the_path_selects_the_response() {
        let fine = request(b"GET /healthz?x=1 HTTP/1.1\r\n\r\n").await;
        assert!(
            fine.starts_with("HTTP/1.1 200 OK\r\n") && fine.ends_with("\r\n\r\nfine\n"),
            "{fine}"
        );
        assert!(
            request(b"GET / HTTP/1.1\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 404")
        );
        assert!(
            request(b"POST / HTTP/1.1\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 405")
        );
    }
}
