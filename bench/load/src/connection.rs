//! A keep-alive connection that sends requests and reads responses.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An open connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The evaluated parts of a response.
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Whether it has `Retry-After`.
    pub retry_after: bool,
}

/// Opens a connection.
pub async fn open(address: &str) -> Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Connection {
        stream,
        buffer: Vec::with_capacity(64 * 1024),
    })
}

impl Connection {
    /// Sends a request and reads the whole response.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Response> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            self.read().await?;
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let (response, length) = parse(&self.buffer[..head])?;
        while self.buffer.len() < head + length {
            self.read().await?;
        }
        Ok(response)
    }

    async fn read(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn parse(head: &[u8]) -> Result<(Response, usize)> {
    let bad = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
    let head = std::str::from_utf8(head).map_err(|_| bad("the head is not text"))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.get(9..12))
        .ok_or_else(|| bad("no status"))?;
    let status = status.parse().map_err(|_| bad("no status"))?;
    let mut response = Response {
        status,
        retry_after: false,
    };
    let mut length = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        } else if name.eq_ignore_ascii_case("retry-after") {
            response.retry_after = true;
        }
    }
    Ok((response, length.ok_or_else(|| bad("no content-length"))?))
}
