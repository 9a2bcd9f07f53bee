//! A client of exports that reads the connection itself, so that it sees how an export ends.

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::principals::credential;
use super::server::Server;

/// Longer than an export without an end waits.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The last chunk, after the line end of another one or of the head (RFC 9112, section 7.1).
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// An export that is being read.
pub struct Export {
    pub stream: TcpStream,
    received: Vec<u8>,
}

/// How the connection of an export ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the last chunk.
    LastChunk,
    /// Without it: the peer closed its side.
    Close,
    /// With a reset.
    Reset,
}

/// An export that has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: u16,
    /// The status line and the headers, in lower case.
    pub head: String,
    /// What was received of the body.
    pub body: Vec<u8>,
    pub end: End,
}

impl Ended {
    /// The complete lines of the body.
    pub fn lines(&self) -> Vec<String> {
        let end = self.body.iter().rposition(|byte| *byte == b'\n');
        let complete = &self.body[..end.map_or(0, |end| end + 1)];
        let text = std::str::from_utf8(complete).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The complete lines, each of which is an order.
    pub fn orders(&self) -> Vec<Value> {
        let lines = self.lines();
        let parsed = lines.iter().map(|line| serde_json::from_str(line).unwrap());
        parsed.collect()
    }

    /// The lines of an export that is complete.
    pub fn complete(&self) -> Vec<String> {
        assert_eq!(
            (self.status, self.end),
            (200, End::LastChunk),
            "{}",
            self.head
        );
        assert!(self.body.is_empty() || self.body.ends_with(b"\n"));
        self.lines()
    }
}

/// The head of a request for an export. `more` has other headers, each with its line end.
pub fn request(path: &str, version: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/{version}\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n{more}\r\n"
    )
}

impl Export {
    /// Requests an export.
    pub async fn open(server: &Server, path: &str) -> Self {
        Self::send(server, &request(path, "1.1", "")).await
    }

    /// The same with the API key of a principal.
    pub async fn open_as(server: &Server, principal: &str, path: &str) -> Self {
        let authorization = format!("Authorization: {}\r\n", credential(principal));
        Self::send(server, &request(path, "1.1", &authorization)).await
    }

    /// Sends the head of a request. The kernel buffers little of the response, so most of it stays in the server until
    /// it is read.
    pub async fn send(server: &Server, request: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let address = server.address().parse().unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Reads more bytes. Returns how the connection has ended, if it has.
    async fn read(&mut self) -> Option<End> {
        let read = self.stream.read_buf(&mut self.received);
        let read = tokio::time::timeout(TIMEOUT, read).await;
        match read.expect("bytes or the end of the connection in time") {
            Ok(0) => Some(End::Close),
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Some(End::Reset),
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads until at least this many bytes have been received in total, or the last chunk.
    pub async fn read_bytes(&mut self, bytes: usize) {
        while self.received.len() < bytes && !self.is_complete() {
            let end = self.read().await;
            assert_eq!(end, None, "after {} bytes", self.received.len());
        }
    }

    /// Whether the last chunk has been received.
    pub fn is_complete(&self) -> bool {
        self.received.ends_with(LAST_CHUNK)
    }

    /// The number of bytes that have been received.
    pub fn received(&self) -> usize {
        self.received.len()
    }

    /// The status of the response.
    pub async fn status(&mut self) -> u16 {
        self.read_bytes(12).await;
        std::str::from_utf8(&self.received[9..12])
            .unwrap()
            .parse()
            .unwrap()
    }

    /// What has been received so far, as if the connection had been closed then.
    pub fn so_far(&self) -> Ended {
        parse(&self.received, End::Close)
    }

    /// Reads until the last chunk or the end of the connection.
    pub async fn end(&mut self) -> Ended {
        loop {
            if self.is_complete() {
                let ended = self.so_far();
                if ended.end == End::LastChunk {
                    return ended;
                }
            }
            if let Some(end) = self.read().await {
                return parse(&self.received, end);
            }
        }
    }

    /// Requests an export and reads it to its end.
    pub async fn of(server: &Server, path: &str) -> Ended {
        Self::open(server, path).await.end().await
    }
}

fn parse(received: &[u8], end: End) -> Ended {
    let separator = received.windows(4).position(|part| part == b"\r\n\r\n");
    let at = separator.map_or(received.len(), |at| at + 4);
    let head = String::from_utf8(received[..at].to_vec())
        .unwrap()
        .to_lowercase();
    let status = head.get(9..12).map_or(0, |status| status.parse().unwrap());
    let rest = &received[at..];
    let (body, end) = if head.contains("transfer-encoding: chunked") {
        let (body, complete) = chunks(rest);
        (body, if complete { End::LastChunk } else { end })
    } else {
        (rest.to_vec(), end)
    };
    Ended {
        status,
        head,
        body,
        end,
    }
}

/// The data of the chunks, and whether the last chunk is among them.
fn chunks(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut data = Vec::new();
    while let Some(end) = bytes.windows(2).position(|part| part == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        bytes = &bytes[end + 2..];
        if size == 0 {
            return (data, bytes == b"\r\n");
        }
        data.extend_from_slice(&bytes[..size.min(bytes.len())]);
        let Some(rest) = bytes.get(size + 2..) else {
            break;
        };
        bytes = rest;
    }
    (data, false)
}
