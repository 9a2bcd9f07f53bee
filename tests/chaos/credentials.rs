//! API keys and the keys of an issuer of tokens are rotated under load.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::experiment::{Experiment, seconds};
use super::service::{Credentials, SCOPES, Service, Tenant};
use super::traffic::{Options, Traffic};
use crate::support::auth_file::{AuthFile, ISSUER, Issuer, bearer, entry, in_seconds};
use crate::support::binary::migrate;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::server::Server;

/// The time until a changed `AUTH_FILE` is in force is 5 s; the rest is for a busy machine.
const RELOAD: Duration = Duration::from_secs(20);
/// The shortest time between two fetches of a key set, and a second more.
const FETCH_INTERVAL: Duration = Duration::from_secs(31);
const KEY_IDS: [&str; 6] = ["key-0", "key-1", "key-2", "key-3", "key-4", "key-5"];

/// A server of key sets.
struct KeyServer {
    address: String,
    keys: Arc<Mutex<Vec<Value>>>,
}

impl KeyServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let keys = Arc::<Mutex<Vec<Value>>>::default();
        let served = Arc::clone(&keys);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let body = json!({"keys": *served.lock().unwrap()}).to_string();
                let response = format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(response.as_bytes()).await;
            }
        });
        Self { address, keys }
    }

    /// Publishes the keys of these issuers.
    fn publish(&self, issuers: &[&Issuer]) {
        let keys = issuers.iter().map(|it| it.jwks()["keys"][0].clone());
        *self.keys.lock().unwrap() = keys.collect();
    }
}

/// The API key with this number.
fn key(number: usize) -> String {
    let secret = format!("{number:064x}");
    format!("osk_acme_{secret}")
}

/// A token with a key of the issuer.
fn token(issuer: &Issuer) -> String {
    issuer.token(json!({
        "sub": "shop", "scope": SCOPES.join(" "), "tenant": "globex", "exp": in_seconds(3600),
    }))
}

/// A file with these API keys and the issuer.
fn policy(server: &KeyServer, keys: &[usize]) -> String {
    let keys = keys.iter().map(|it| entry(&key(*it), &SCOPES, "acme"));
    let issuer = format!(
        "[[issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"order-service\"]\n\
         tenant_claim = \"/tenant\"\njwks_url = \"http://{}/\"\n",
        server.address
    );
    keys.collect::<String>() + &issuer
}

/// Waits until the service responds to a credential with this status.
async fn responds(server: &Server, credential: &str, status: u16) {
    eventually(&format!("{status} for a credential"), RELOAD, async || {
        let response = server.get_with(credential, "/api/v1/orders?limit=1").await;
        response.status() == status
    })
    .await;
}

/// A service whose clients of one tenant have an API key, and those of the other one a token.
struct Scene {
    database: Database,
    key_server: KeyServer,
    issuers: Vec<Issuer>,
    file: AuthFile,
    server: Server,
    credentials: Credentials,
}

impl Scene {
    async fn new() -> Self {
        let database = Database::postgres().await;
        migrate(&database);
        let key_server = KeyServer::start().await;
        let issuers: Vec<_> = KEY_IDS.map(Issuer::new).into();
        key_server.publish(&[&issuers[0]]);
        let file = AuthFile::new(&policy(&key_server, &[0]));
        let service = Service::on(database.url()).with("AUTH_FILE", file.path());
        let server = service.start().await;
        let credentials = Credentials::of_tenants();
        credentials.replace(Tenant::Acme, &bearer(&key(0)));
        credentials.replace(Tenant::Globex, &bearer(&token(&issuers[0])));
        responds(&server, &token(&issuers[0]), 200).await;
        Self {
            database,
            key_server,
            issuers,
            file,
            server,
            credentials,
        }
    }

    fn options(&self) -> Options {
        let mut options = Options::new(&self.server.api);
        options.retries = false;
        options.credentials = self.credentials.clone();
        options
    }

    /// Rotates the API key and the key of the issuer: the new ones are accepted before clients use them, and the old
    /// ones until no client uses them.
    async fn rotate(&mut self, number: usize) {
        let (old, new) = (&self.issuers[number - 1], &self.issuers[number]);
        self.key_server.publish(&[old, new]);
        self.file
            .write(&policy(&self.key_server, &[number - 1, number]));
        responds(&self.server, &key(number), 200).await;
        // A changed file makes the service fetch the keys of its issuers.
        responds(&self.server, &token(new), 200).await;
        let (new_key, new_token) = (bearer(&key(number)), bearer(&token(new)));
        self.credentials.switch(Tenant::Acme, &new_key).await;
        self.credentials.switch(Tenant::Globex, &new_token).await;
        self.key_server.publish(&[new]);
        self.file.write(&policy(&self.key_server, &[number]));
        responds(&self.server, &key(number - 1), 401).await;
        responds(&self.server, &token(old), 401).await;
    }

    /// Publishes a new key of the issuer beside the old one. Clients use it at once: the service does not have it.
    async fn sign_with_new_key(&self, number: usize) {
        tokio::time::sleep(FETCH_INTERVAL).await;
        let new = &self.issuers[number];
        self.key_server.publish(&[&self.issuers[number - 1], new]);
        let new_token = bearer(&token(new));
        self.credentials.switch(Tenant::Globex, &new_token).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_keys_and_the_keys_of_an_issuer_are_rotated() {
    Experiment::run("rotated API keys and JWKS", async |experiment| {
        let mut scene = Scene::new().await;
        let traffic = Traffic::start(experiment, &scene.options());
        let rotations = experiment.either(1, 3);
        for number in 1..=rotations {
            traffic.timeline.mark("rotation");
            scene.rotate(number).await;
        }
        // The short version has no time for the interval of fetches.
        let new_keys = experiment.either(0, 2);
        for number in 1..=new_keys {
            traffic.timeline.mark("new key");
            scene.sign_with_new_key(rotations + number).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (timeline, ledger) = traffic.stop().await;
        let counts = timeline.counts();
        let verified = ledger.verify(&scene.database).await;
        experiment.figure("rotations", rotations);
        experiment.figure("keys used before they are fetched", new_keys);
        experiment.figure("requests", timeline.len());
        experiment.figure("failed", counts.failed);
        experiment.figure("slowest response in seconds", seconds(counts.slowest));
        assert_eq!(counts.failed, 0, "{counts:?}");
        assert_eq!(verified.lost, 0, "{verified:?}");
    })
    .await;
}

/// The control: a key that is removed before its clients have another one fails their requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_key_that_is_removed_too_early_fails_requests() {
    let name = "rotated API key without an overlap";
    Experiment::run(name, async |experiment| {
        let mut scene = Scene::new().await;
        let traffic = Traffic::start(experiment, &scene.options());
        scene.file.write(&policy(&scene.key_server, &[1]));
        traffic.timeline.mark("key removed");
        responds(&scene.server, &key(0), 401).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (timeline, _) = traffic.stop().await;
        let counts = timeline.counts();
        experiment.figure("failed", counts.failed);
        let is_rejected = |it: &String| it.starts_with("401 ");
        assert!(
            !counts.wrong.is_empty() && counts.wrong.iter().all(is_rejected),
            "{counts:?}"
        );
    })
    .await;
}
