//! A connection with the time-outs that Actix lacks.
//!
//! Actix bounds the time of a connection's first head only. Here every head has the time of a request
//! from its first byte on, and who is too slow gets a problem like everybody else.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::api::Activity;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the head of a request, from its first byte on.
    pub(super) head: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
}

/// A connection of a client.
pub(super) struct Connection {
    stream: TcpStream,
    activity: Rc<Activity>,
    patience: Patience,
    timer: Pin<Box<Sleep>>,
    /// Makes the answer for a client that was too slow.
    too_slow: Rc<dyn Fn() -> Vec<u8>>,
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        patience: Patience,
        too_slow: Rc<dyn Fn() -> Vec<u8>>,
    ) -> Self {
        Self {
            stream,
            activity: Rc::default(),
            patience,
            timer: Box::pin(sleep_until(Instant::now() + patience.idle)),
            too_slow,
        }
    }

    /// What the edge and the connection tell each other.
    pub(super) fn activity(&self) -> Rc<Activity> {
        Rc::clone(&self.activity)
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn note_sent(&self, result: &Poll<io::Result<usize>>) {
        if matches!(result, Poll::Ready(Ok(bytes)) if *bytes > 0) {
            self.activity.sent();
        }
    }

    /// Ready when the client was too slow.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = match (self.activity.is_busy(), self.activity.head_since()) {
            // A request that is being answered has a deadline of its own. Nobody looks here at its
            // end, so the timer has to go on.
            (true, _) => Instant::now() + self.patience.idle,
            (false, Some(began)) => began + self.patience.head,
            (false, None) => self.activity.idle_since() + self.patience.idle,
        };
        // A deadline moves on with every request. The timer follows when it rings, so that a request
        // costs no change in the timers of the worker.
        loop {
            if deadline < self.timer.deadline() {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(cx));
            if self.timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(cx, buf) {
            if buf.filled().len() > before {
                self.activity.received();
            } else if result.is_ok() && buf.remaining() > 0 {
                self.activity.leave();
            }
            return Poll::Ready(result);
        }
        ready!(self.poll_late(cx));
        if self.activity.head_since().is_some() {
            // The buffer of a socket to which nothing else is being written has room for it.
            let _ = self.stream.try_write(&(self.too_slow)());
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note_sent(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note_sent(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair(patience: Patience) -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let too_slow = Rc::new(|| b"too slow".to_vec());
        (client, Connection::new(stream, patience, too_slow))
    }

    const PATIENCE: Patience = Patience {
        head: Duration::from_millis(100),
        idle: Duration::from_millis(500),
    };

    #[actix_rt::test]
    async fn a_stream_that_goes_on_is_not_idle_and_one_that_stops_is() {
        let (_client, connection) = pair(PATIENCE).await;
        let (mut reader, mut writer) = tokio::io::split(connection);
        let start = Instant::now();
        let answering = async {
            for _ in 0..30 {
                writer.write_all(b"x").await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut buffer = [0; 8];
        let result = tokio::select! {
            () = answering => unreachable!(),
            result = reader.read(&mut buffer) => result,
        };
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(
            start.elapsed() >= Duration::from_millis(1_900),
            "{:?}",
            start.elapsed()
        );
    }

    #[actix_rt::test]
    async fn a_client_that_is_silent_after_a_long_answer_is_idle() {
        let (_client, mut connection) = pair(PATIENCE).await;
        let request = connection.activity().begin();
        let answering = async move {
            tokio::time::sleep(Duration::from_millis(700)).await;
            drop(request);
            std::future::pending::<()>().await;
        };
        let start = Instant::now();
        let mut buffer = [0; 8];
        let result = tokio::select! {
            () = answering => unreachable!(),
            result = connection.read(&mut buffer) => result,
        };
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let idle = start.elapsed() - Duration::from_millis(700);
        assert!(idle >= Duration::from_millis(490), "{idle:?}");
    }

    #[actix_rt::test]
    async fn a_head_that_stops_is_told_so() {
        let (mut client, mut connection) = pair(PATIENCE).await;
        client.write_all(b"GET").await.unwrap();
        let mut buffer = [0; 8];
        assert_eq!(connection.read(&mut buffer).await.unwrap(), 3);
        let error = connection.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(connection);
        let mut told = String::new();
        client.read_to_string(&mut told).await.unwrap();
        assert_eq!(told, "too slow");
    }
}
