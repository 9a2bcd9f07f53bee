//! A client that sends what it likes and reads responses byte by byte (RFC 9112).

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than anything that is tested takes.
const LIMIT: Duration = Duration::from_secs(15);

pub struct Raw {
    pub stream: TcpStream,
    received: Vec<u8>,
}

/// One response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// The status line and the headers, in lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let name = format!("{name}: ");
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name.as_str()))
    }

    /// Whether the server says that it ends the connection.
    pub fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }

    /// The kind of the problem, after checking what every problem has.
    pub fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        assert!(self.header("date").is_some(), "{self:?}");
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        let id = self.header("x-request-id").unwrap();
        assert_eq!(body["request_id"].as_str().unwrap().to_lowercase(), id);
        assert_eq!(body["status"], self.status);
        let kind = body["type"].as_str().unwrap();
        kind.rsplit(':').next().unwrap().to_owned()
    }
}

impl Raw {
    /// Connects to `http://HOST:PORT`.
    pub async fn to(url: &str) -> Self {
        let address = url.strip_prefix("http://").unwrap();
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            received: Vec::new(),
        }
    }

    /// On a stream of the test's own.
    pub fn from(stream: TcpStream) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn more(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.received);
        let read = tokio::time::timeout(LIMIT, read).await.expect("more comes");
        read.unwrap_or_else(|error| panic!("{error} after {:?}", self.text())) > 0
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// The next response, to a request that was not HEAD.
    pub async fn response(&mut self) -> Response {
        self.response_to("GET").await
    }

    /// The next response to a request with this method. What is delimited by the end of the connection
    /// is read until then.
    pub async fn response_to(&mut self, method: &str) -> Response {
        let end = loop {
            if let Some(end) = self.text().find("\r\n\r\n") {
                break end + 4;
            }
            assert!(self.more().await, "it ends in a head: {}", self.text());
        };
        let head: Vec<u8> = self.received.drain(..end).collect();
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let status = head[9..12].parse().unwrap();
        let mut response = Response {
            status,
            head,
            body: Vec::new(),
        };
        if method == "HEAD" || status == 304 {
            return response;
        }
        if let Some(length) = response.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.received.len() < length {
                assert!(self.more().await, "it ends in a body: {response:?}");
            }
            response.body = self.received.drain(..length).collect();
        } else {
            assert_eq!(response.header("transfer-encoding"), None, "{response:?}");
            while self.more().await {}
            response.body = std::mem::take(&mut self.received);
        }
        response
    }

    /// Panics unless the server closes, without a reset and without another byte.
    pub async fn ends(&mut self) {
        while self.more().await {}
        assert_eq!(self.text(), "", "another response");
    }

    /// Panics unless another request is answered on the same connection.
    pub async fn is_usable(&mut self) {
        self.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let response = self.response().await;
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.body, b"{\"status\":\"ok\"}");
    }
}
