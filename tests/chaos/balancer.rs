//! An HTTP/1.1 load balancer with keep-alive connections to its endpoints. It sends each request once: an error of an
//! endpoint becomes a 502.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

const BAD_GATEWAY: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";

pub(crate) struct Balancer {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// `HOST:PORT` of each endpoint.
    endpoints: Mutex<Vec<String>>,
    next: AtomicUsize,
    idle: Mutex<HashMap<String, Vec<Connection>>>,
}

impl Balancer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                client.set_nodelay(true).unwrap();
                let shared = Arc::clone(&serving);
                tokio::spawn(async move { shared.serve(Connection::new(client)).await });
            }
        });
        Self { url, shared }
    }

    /// Adds an endpoint.
    pub(crate) fn add(&self, address: &str) {
        self.shared
            .endpoints
            .lock()
            .unwrap()
            .push(address.to_owned());
    }

    /// Sends no further request to an endpoint.
    pub(crate) fn remove(&self, address: &str) {
        self.shared
            .endpoints
            .lock()
            .unwrap()
            .retain(|it| it != address);
        self.shared.idle.lock().unwrap().remove(address);
    }
}

impl Shared {
    /// Serves the requests of a client until it closes the connection.
    async fn serve(&self, mut client: Connection) {
        while let Ok(Some(request)) = client.message().await {
            let Ok((mut endpoint, address, response)) = self.forward(&request).await else {
                if client.stream.write_all(BAD_GATEWAY).await.is_err() {
                    return;
                }
                continue;
            };
            if response.body_length().is_none() {
                // A stream of unknown length: the client and the endpoint talk directly from here on.
                let head = client.stream.write_all(&response.bytes).await;
                let rest = client.stream.write_all(&endpoint.received).await;
                if head.and(rest).is_ok() {
                    let _ = copy_bidirectional(&mut client.stream, &mut endpoint.stream).await;
                }
                return;
            }
            let closes = response
                .header("connection")
                .is_some_and(|it| it == "close");
            // The balancer keeps the connection of the client whatever it does with that of the endpoint.
            if client
                .stream
                .write_all(&response.without("connection"))
                .await
                .is_err()
            {
                return;
            }
            if !closes {
                let mut idle = self.idle.lock().unwrap();
                idle.entry(address).or_default().push(endpoint);
            }
        }
    }

    /// Sends a request to the next endpoint and reads the response.
    async fn forward(&self, request: &Message) -> io::Result<(Connection, String, Message)> {
        let address = {
            let endpoints = self.endpoints.lock().unwrap();
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            endpoints.get(turn % endpoints.len().max(1)).cloned()
        };
        let address = address.ok_or(io::ErrorKind::NotConnected)?;
        let idle = self
            .idle
            .lock()
            .unwrap()
            .get_mut(&address)
            .and_then(Vec::pop);
        let mut endpoint = match idle.filter(Connection::is_open) {
            Some(endpoint) => endpoint,
            None => {
                let stream = TcpStream::connect(&address).await?;
                stream.set_nodelay(true)?;
                Connection::new(stream)
            }
        };
        endpoint.stream.write_all(&request.bytes).await?;
        let response = endpoint.message().await?;
        let response = response.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((endpoint, address, response))
    }
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// A head and, if its length is given, a body.
struct Message {
    bytes: Vec<u8>,
    head_length: usize,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Whether an idle connection has neither ended nor received anything.
    fn is_open(&self) -> bool {
        let read = self.stream.try_read(&mut [0; 1]);
        self.received.is_empty()
            && read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The next message; `None` at the end of the connection.
    async fn message(&mut self) -> io::Result<Option<Message>> {
        let head_length = loop {
            if let Some(end) = self.received.windows(4).position(|it| it == b"\r\n\r\n") {
                break end + 4;
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return if self.received.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        };
        let mut message = Message {
            bytes: self.received.drain(..head_length).collect(),
            head_length,
        };
        let length = message.body_length().unwrap_or(0);
        while self.received.len() < length {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        message.bytes.extend(self.received.drain(..length));
        Ok(Some(message))
    }
}

impl Message {
    fn head(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.head_length]).to_lowercase()
    }

    fn header(&self, name: &str) -> Option<String> {
        let name = format!("{name}: ");
        let head = self.head();
        head.lines()
            .find_map(|line| line.strip_prefix(name.as_str()))
            .map(str::to_owned)
    }

    /// The length of the body; `None` for the response with a body of unknown length.
    fn body_length(&self) -> Option<usize> {
        match self.header("content-length") {
            Some(length) => Some(length.parse().unwrap()),
            None if self.header("transfer-encoding").is_some() => None,
            None => Some(0),
        }
    }

    /// The bytes of the message without a header.
    fn without(&self, name: &str) -> Vec<u8> {
        let head = String::from_utf8_lossy(&self.bytes[..self.head_length]).into_owned();
        let prefix = format!("{name}:");
        let lines = head.split_inclusive("\r\n");
        let kept = lines.filter(|line| !line.to_lowercase().starts_with(&prefix));
        let mut bytes = kept.collect::<String>().into_bytes();
        bytes.extend(&self.bytes[self.head_length..]);
        bytes
    }
}
