//! The network between the service and PostgreSQL, with faults that can be switched on and off.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::support::database::Database;

/// What the network does with open and new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Works,
    /// Connections end, and new ones are closed.
    Cut,
    /// Nothing arrives on open and new connections, which stay open.
    Silent,
    /// Each part of a response arrives this much later.
    Slow(Duration),
}

pub(crate) struct Link {
    url: String,
    network: Arc<watch::Sender<Network>>,
}

impl Link {
    pub(crate) async fn in_front_of(database: &Database) -> Self {
        let target = database.url();
        let (scheme, rest) = target.split_once('@').unwrap();
        let (address, name) = rest.split_once('/').unwrap();
        let address = address.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let network = Arc::new(watch::Sender::new(Network::Works));
        let link = Self {
            url: format!("{scheme}@127.0.0.1:{port}/{name}"),
            network: Arc::clone(&network),
        };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, address.clone(), network.subscribe()));
            }
        });
        link
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

/// Relays one connection until a side closes it or the network is cut.
async fn relay(client: TcpStream, address: String, network: watch::Receiver<Network>) {
    let mut state = network.clone();
    let relayed = async {
        let mut passes = network.clone();
        if passes.wait_for(|it| *it != Network::Silent).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(address).await else {
            return;
        };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = forward(from_client, to_server, network.clone(), false) => {}
            () = forward(from_server, to_client, network, true) => {}
        }
    };
    tokio::select! {
        () = relayed => {}
        _ = state.wait_for(|it| *it == Network::Cut) => {}
    }
}

/// Forwards bytes in one direction. Responses are delayed on a slow network.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
    responses: bool,
) {
    let (sender, mut parts) = mpsc::unbounded_channel();
    let delays = network.clone();
    let read = async move {
        loop {
            let mut part = Vec::with_capacity(65_536);
            match from.read_buf(&mut part).await {
                Ok(1..) => {
                    let delay = match *delays.borrow() {
                        Network::Slow(delay) if responses => delay,
                        _ => Duration::ZERO,
                    };
                    let _ = sender.send((Instant::now() + delay, part));
                }
                _ => return,
            }
        }
    };
    let write = async move {
        while let Some((at, part)) = parts.recv().await {
            sleep_until(at).await;
            let passes = network.wait_for(|it| *it != Network::Silent).await.is_ok();
            if !passes || to.write_all(&part).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
