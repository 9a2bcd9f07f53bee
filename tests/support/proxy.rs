//! A TCP proxy in front of PostgreSQL that fails as networks and poolers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::database::Database;

pub struct Proxy {
    url: String,
    hold: Arc<AtomicBool>,
    held: Arc<AtomicUsize>,
    silence: watch::Sender<()>,
}

impl Proxy {
    pub async fn in_front_of(database: &Database) -> Self {
        let target = database.url();
        let (scheme, rest) = target.split_once('@').unwrap();
        let (address, name) = rest.split_once('/').unwrap();
        let address = address.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (silence, _) = watch::channel(());
        let proxy = Self {
            url: format!("{scheme}@127.0.0.1:{port}/{name}"),
            hold: Arc::default(),
            held: Arc::default(),
            silence,
        };
        let (hold, held) = (Arc::clone(&proxy.hold), Arc::clone(&proxy.held));
        let silence = proxy.silence.clone();
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            while let Ok((mut inbound, _)) = listener.accept().await {
                if hold.load(Ordering::SeqCst) {
                    waiting.push(inbound);
                    held.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let (address, mut silenced) = (address.clone(), silence.subscribe());
                tokio::spawn(async move {
                    let mut outbound = TcpStream::connect(address).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut inbound, &mut outbound) => return,
                        _ = silenced.changed() => {}
                    }
                    // Both sockets stay open, and the kernel acknowledges the bytes that arrive.
                    std::future::pending::<()>().await;
                });
            }
        });
        proxy
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Accepts new connections from now on without connecting them to the server.
    pub fn hold_new(&self) {
        self.hold.store(true, Ordering::SeqCst);
    }

    /// The number of accepted connections that are not connected to the server.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// Stops forwarding bytes on the connections that are open now.
    pub fn silence_open(&self) {
        self.silence.send(()).unwrap();
    }
}
