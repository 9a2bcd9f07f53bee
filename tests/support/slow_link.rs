//! A slow network between the service and PostgreSQL.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::database::Database;

/// Relays connections and delays what the server sends.
pub struct SlowLink {
    url: String,
}

impl SlowLink {
    /// Each response of the server arrives `delay` later. The bandwidth is not limited.
    pub async fn in_front_of(database: &Database, delay: Duration) -> Self {
        let target = database.url();
        let (scheme, rest) = target.split_once('@').unwrap();
        let (address, name) = rest.split_once('/').unwrap();
        let address = address.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let link = Self {
            url: format!("{scheme}@127.0.0.1:{port}/{name}"),
        };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&address).await.unwrap();
                tokio::spawn(relay(client, server, delay));
            }
        });
        link
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

async fn relay(client: TcpStream, server: TcpStream, delay: Duration) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (sender, mut parts) = mpsc::unbounded_channel();
    let requests = async { tokio::io::copy(&mut from_client, &mut to_server).await.ok() };
    let responses = async move {
        loop {
            let mut part = Vec::with_capacity(65_536);
            match from_server.read_buf(&mut part).await {
                Ok(1..) => drop(sender.send((Instant::now() + delay, part))),
                _ => return,
            }
        }
    };
    let delayed = async {
        while let Some((at, part)) = parts.recv().await {
            sleep_until(at).await;
            if to_client.write_all(&part).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = requests => {}
        _ = async { tokio::join!(responses, delayed) } => {}
    }
}
