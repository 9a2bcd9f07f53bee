//! A client for server-sent events (HTML, section 9.2.6), as far as the feed uses them.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde_json::Value;

use super::auth_file::bearer;
use super::client::{Client, Request};
use super::principals::credential;
use super::server::Server;

pub struct Event {
    pub id: String,
    pub kind: String,
    pub data: Value,
}

pub struct EventStream {
    chunks: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    /// The text received and not yet parsed, with a line feed at the end of each line.
    buffer: String,
    /// Whether the last chunk ended with a carriage return.
    carriage_return: bool,
    /// The last id received, with or without data.
    pub last_id: Option<String>,
    /// Whether the body ended as HTTP requires, and not with the connection.
    ended_cleanly: bool,
}

fn request(server: &Server, last_event_id: Option<&str>) -> Request {
    let request = server
        .client
        .get(server.url("/api/v1/events"))
        .header("accept", "text/event-stream");
    match last_event_id {
        Some(id) => request.header("last-event-id", id),
        None => request,
    }
}

impl EventStream {
    pub async fn open(server: &Server, last_event_id: Option<&str>) -> Self {
        Self::from_response(Self::request(server, last_event_id).await)
    }

    /// Opens a stream with a credential.
    pub async fn open_with(server: &Server, credential: &str, last_event_id: Option<&str>) -> Self {
        let request = request(server, last_event_id).header("authorization", bearer(credential));
        Self::from_response(request.send_streaming().await.unwrap())
    }

    /// Opens a stream at `http://HOST:PORT` with a credential; `None` unless the response is 200.
    pub async fn open_at(
        client: &Client,
        url: &str,
        credential: &str,
        last_event_id: Option<&str>,
    ) -> Option<Self> {
        let request = client.get(format!("{url}/api/v1/events"));
        let mut request = request.header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let request = request.header("authorization", bearer(credential));
        let response = request.send_streaming().await.ok()?;
        (response.status() == 200).then(|| Self::from_response(response))
    }

    fn from_response(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            chunks: response.bytes_stream().boxed(),
            buffer: String::new(),
            carriage_return: false,
            last_id: None,
            ended_cleanly: false,
        }
    }

    /// The response to a request for a stream, whatever its status.
    pub async fn request(server: &Server, last_event_id: Option<&str>) -> reqwest::Response {
        request(server, last_event_id)
            .send_streaming()
            .await
            .unwrap()
    }

    /// The same for a principal of [`super::principals`].
    pub async fn request_as(server: &Server, principal: &str) -> reqwest::Response {
        let request = request(server, None).header("authorization", credential(principal));
        request.send_streaming().await.unwrap()
    }

    /// A line ends with a carriage return, a line feed, or both (HTML, section 9.2.5).
    fn receive(&mut self, chunk: &[u8]) {
        for c in std::str::from_utf8(chunk).unwrap().chars() {
            match c {
                '\n' if self.carriage_return => {}
                '\r' | '\n' => self.buffer.push('\n'),
                c => self.buffer.push(c),
            }
            self.carriage_return = c == '\r';
        }
    }

    /// Whether the stream has ended as HTTP requires, and not with the connection.
    pub fn ended_cleanly(&self) -> bool {
        self.ended_cleanly
    }

    /// Whether the next chunk is a comment.
    pub async fn next_is_comment(&mut self) -> bool {
        let chunk = tokio::time::timeout(Duration::from_secs(20), self.chunks.next());
        let chunk = chunk.await.expect("a chunk within 20 s").unwrap().unwrap();
        self.buffer.is_empty() && chunk.starts_with(b":")
    }

    /// The next event; `None` at the end of the stream. Panics when nothing arrives for 40 s.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name));
                    line.map(|value| value.trim_start().to_owned())
                };
                let (id, data) = (field("id:"), field("data:"));
                if id.is_some() {
                    self.last_id = id.clone();
                }
                if let Some(data) = data {
                    return Some(Event {
                        id: id.unwrap(),
                        kind: field("event:").unwrap(),
                        data: serde_json::from_str(&data).unwrap(),
                    });
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(40), self.chunks.next());
            match chunk.await.expect("a chunk within 40 s") {
                Some(Ok(chunk)) => self.receive(&chunk),
                Some(Err(_)) => return None,
                None => {
                    self.ended_cleanly = true;
                    return None;
                }
            }
        }
    }
}
