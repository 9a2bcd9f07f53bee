//! A TCP relay in front of two PostgreSQL databases that can switch between two statements.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::database::Database;

/// Relays to the first database and, after [`Relay::switch_after_next_response`], to the second.
pub struct Relay {
    url: String,
    armed: Arc<AtomicBool>,
    switched: Arc<AtomicBool>,
}

/// The address and the name of a database.
fn address_and_name(database: &Database) -> (String, String) {
    let url = database.url();
    let (_, rest) = url.split_once('@').unwrap();
    let (address, name) = rest.split_once('/').unwrap();
    (address.to_owned(), name.to_owned())
}

impl Relay {
    /// Both databases must have the same name, in different clusters.
    pub async fn in_front_of(first: &Database, second: &Database) -> Self {
        let (first, name) = address_and_name(first);
        let (second, second_name) = address_and_name(second);
        assert_eq!(name, second_name);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (armed, switched) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let relay = Self {
            url: format!("postgres://postgres@127.0.0.1:{port}/{name}"),
            armed: Arc::clone(&armed),
            switched: Arc::clone(&switched),
        };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let target = if switched.load(Ordering::SeqCst) {
                    &second
                } else {
                    &first
                };
                let server = TcpStream::connect(target).await.unwrap();
                tokio::spawn(relay_one(
                    client,
                    server,
                    Arc::clone(&armed),
                    Arc::clone(&switched),
                ));
            }
        });
        relay
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Forwards the next response of the server and then closes the connection. Later connections go to the
    /// second database.
    pub fn switch_after_next_response(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    pub fn has_switched(&self) -> bool {
        self.switched.load(Ordering::SeqCst)
    }
}

async fn relay_one(
    client: TcpStream,
    server: TcpStream,
    armed: Arc<AtomicBool>,
    switched: Arc<AtomicBool>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async { tokio::io::copy(&mut from_client, &mut to_server).await.ok() };
    let responses = async {
        let mut bytes = vec![0; 65_536];
        loop {
            match from_server.read(&mut bytes).await {
                Ok(count @ 1..) => to_client.write_all(&bytes[..count]).await.unwrap(),
                _ => return,
            }
            if armed.swap(false, Ordering::SeqCst) {
                switched.store(true, Ordering::SeqCst);
                return;
            }
        }
    };
    tokio::select! {
        _ = requests => {}
        () = responses => {}
    }
}
