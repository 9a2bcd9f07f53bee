//! A TCP proxy in front of PostgreSQL that can fail as networks and poolers do.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::database::Database;

pub struct Proxy {
    url: String,
    hold: Arc<AtomicBool>,
    held: Arc<AtomicUsize>,
    silence: watch::Sender<()>,
    lose: Arc<Lose>,
}

/// Which response is lost.
#[derive(Default)]
struct Lose {
    /// That to the next request with these bytes.
    request: Mutex<Option<&'static str>>,
    /// How many have been lost.
    lost: AtomicUsize,
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
            lose: Arc::default(),
        };
        let (hold, held) = (Arc::clone(&proxy.hold), Arc::clone(&proxy.held));
        let (silence, lose) = (proxy.silence.clone(), Arc::clone(&proxy.lose));
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            while let Ok((mut inbound, _)) = listener.accept().await {
                if hold.load(Ordering::SeqCst) {
                    waiting.push(inbound);
                    held.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let (address, mut silenced) = (address.clone(), silence.subscribe());
                let lose = Arc::clone(&lose);
                tokio::spawn(async move {
                    let mut outbound = TcpStream::connect(address).await.unwrap();
                    tokio::select! {
                        () = hand_on(&mut inbound, &mut outbound, &lose) => return,
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
    /// The server executes the next request with these bytes; then its connection ends without a response.
    pub fn lose_response_to(&self, request: &'static str) {
        *self.lose.request.lock().unwrap() = Some(request);
    }

    /// How many responses have been lost.
    pub fn lost(&self) -> usize {
        self.lose.lost.load(Ordering::SeqCst)
    }
}

/// Hands on what both sides send until one of them ends, or a response is to be lost.
async fn hand_on(client: &mut TcpStream, server: &mut TcpStream, lose: &Lose) {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let ends = AtomicBool::new(false);
    let requests = async {
        let mut bytes = vec![0; 65_536];
        while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
            let part = &bytes[..count];
            let wanted = |request: &mut &str| {
                let request = request.as_bytes();
                part.windows(request.len()).any(|window| window == request)
            };
            if lose.request.lock().unwrap().take_if(wanted).is_some() {
                ends.store(true, Ordering::SeqCst);
            }
            if to_server.write_all(part).await.is_err() {
                return;
            }
        }
    };
    let responses = async {
        let mut bytes = vec![0; 65_536];
        while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
            if ends.load(Ordering::SeqCst) {
                lose.lost.fetch_add(1, Ordering::SeqCst);
                return;
            }
            if to_client.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        () = responses => {}
    }
}
