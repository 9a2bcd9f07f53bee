//! A TCP proxy in front of PostgreSQL that fails as networks and poolers do.

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
    lost: Arc<LostResponses>,
}

/// The responses that the proxy discards.
#[derive(Default)]
struct LostResponses {
    /// The response to the next request that contains these bytes.
    next: Mutex<Option<&'static str>>,
    /// The number of discarded responses.
    count: AtomicUsize,
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
            lost: Arc::default(),
        };
        let (hold, held) = (Arc::clone(&proxy.hold), Arc::clone(&proxy.held));
        let (silence, lost) = (proxy.silence.clone(), Arc::clone(&proxy.lost));
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            while let Ok((mut inbound, _)) = listener.accept().await {
                if hold.load(Ordering::SeqCst) {
                    waiting.push(inbound);
                    held.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let (address, mut silenced) = (address.clone(), silence.subscribe());
                let lost = Arc::clone(&lost);
                tokio::spawn(async move {
                    let mut outbound = TcpStream::connect(address).await.unwrap();
                    tokio::select! {
                        () = forward(&mut inbound, &mut outbound, &lost) => return,
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

    /// Forwards the next request that contains these bytes, and closes the connection instead of forwarding the
    /// response.
    pub fn lose_response_to(&self, request: &'static str) {
        *self.lost.next.lock().unwrap() = Some(request);
    }

    /// The number of discarded responses.
    pub fn lost(&self) -> usize {
        self.lost.count.load(Ordering::SeqCst)
    }
}

/// Forwards bytes in both directions until one side closes, or until a response is to be discarded.
async fn forward(client: &mut TcpStream, server: &mut TcpStream, lost: &LostResponses) {
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
            if lost.next.lock().unwrap().take_if(wanted).is_some() {
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
                lost.count.fetch_add(1, Ordering::SeqCst);
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
