//! A client that sends arbitrary bytes and parses responses itself (RFC 9112).

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than any response takes.
const TIMEOUT: Duration = Duration::from_secs(15);

pub struct RawClient {
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

    /// Whether the response announces that the server closes the connection.
    pub fn announces_close(&self) -> bool {
        self.header("connection") == Some("close")
    }

    /// The problem kind, after a check of the members and headers that every problem has.
    pub fn problem_kind(&self) -> String {
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

impl RawClient {
    /// Connects to `http://HOST:PORT`.
    pub async fn connect(url: &str) -> Self {
        let address = url.strip_prefix("http://").unwrap();
        Self::new(TcpStream::connect(address).await.unwrap())
    }

    /// A client on a connection that the test opened.
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads more bytes; false at the end of the connection.
    async fn receive(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.received);
        let read = tokio::time::timeout(TIMEOUT, read)
            .await
            .expect("bytes or the end of the connection in time");
        read.unwrap_or_else(|error| panic!("{error} after {:?}", self.text())) > 0
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// The next response, to a request that was not HEAD.
    pub async fn response(&mut self) -> Response {
        self.response_to("GET").await
    }

    /// The next response to a request with this method. A body that the end of the connection delimits is
    /// read until then.
    pub async fn response_to(&mut self, method: &str) -> Response {
        let end = loop {
            if let Some(end) = self.text().find("\r\n\r\n") {
                break end + 4;
            }
            assert!(
                self.receive().await,
                "the connection ends within a head: {}",
                self.text()
            );
        };
        let head: Vec<u8> = self.received.drain(..end).collect();
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let status = head.get(9..12).unwrap().parse().unwrap();
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
                assert!(
                    self.receive().await,
                    "the connection ends within a body: {response:?}"
                );
            }
            response.body = self.received.drain(..length).collect();
        } else {
            assert_eq!(response.header("transfer-encoding"), None, "{response:?}");
            while self.receive().await {}
            response.body = std::mem::take(&mut self.received);
        }
        response
    }

    /// Panics unless the server closes the connection without a reset and without another byte.
    pub async fn expect_close(&mut self) {
        while self.receive().await {}
        assert_eq!(self.text(), "", "bytes after the last response");
    }

    /// Panics unless another request on the same connection gets its response.
    pub async fn expect_usable(&mut self) {
        self.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        let response = self.response().await;
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.body, b"{\"status\":\"ok\"}");
    }
}
