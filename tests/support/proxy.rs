//! A TCP proxy in front of PostgreSQL that can fail as networks and poolers do.

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
    pub async fn before(database: &Database) -> Self {
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
                    // Both stay open, and the kernel acknowledges what is sent.
                    std::future::pending::<()>().await;
                });
            }
        });
        proxy
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on new connections are taken and kept waiting.
    pub fn hold_new(&self) {
        self.hold.store(true, Ordering::SeqCst);
    }

    /// How many are kept waiting.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// Nothing is handed on any more on the connections that are open now.
    pub fn silence_open(&self) {
        self.silence.send(()).unwrap();
    }
}
