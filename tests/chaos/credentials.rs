//! API keys and the keys of an issuer of tokens are rotated under load.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::experiment::Experiment;
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
/// The keys of the issuer, in the order of their use.
const KEY_IDS: [&str; 3] = ["key-0", "key-1", "key-2"];

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

    /// Rotates the API key: the new one is accepted before clients use it, and the old one until no client uses it.
    async fn rotate_api_key(&mut self, number: usize) {
        let both = policy(&self.key_server, &[number - 1, number]);
        self.file.write(&both);
        responds(&self.server, &key(number), 200).await;
        let new = bearer(&key(number));
        self.credentials.switch(Tenant::Acme, &new).await;
        self.file.write(&policy(&self.key_server, &[number]));
        responds(&self.server, &key(number - 1), 401).await;
    }

    /// Publishes a new key of the issuer beside the previous one. Clients use it at once: the service must fetch it.
    /// The key before the previous one is not published any more.
    async fn rotate_key_of_issuer(&self, number: usize) {
        tokio::time::sleep(FETCH_INTERVAL).await;
        let (previous, new) = (&self.issuers[number - 1], &self.issuers[number]);
        self.key_server.publish(&[previous, new]);
        let new_token = bearer(&token(new));
        self.credentials.switch(Tenant::Globex, &new_token).await;
        responds(&self.server, &token(new), 200).await;
        if number > 1 {
            responds(&self.server, &token(&self.issuers[number - 2]), 401).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_keys_and_the_keys_of_an_issuer_are_rotated() {
    Experiment::run("rotated API keys and JWKS", async |experiment| {
        let mut scene = Scene::new().await;
        let traffic = Traffic::start(experiment, &scene.options());
        let api_keys = experiment.either(1, 3);
        for number in 1..=api_keys {
            traffic.timeline.mark("API key");
            scene.rotate_api_key(number).await;
        }
        // The short version has no time for the interval of fetches.
        let issuer_keys = experiment.either(0, KEY_IDS.len() - 1);
        for number in 1..=issuer_keys {
            traffic.timeline.mark("key of the issuer");
            scene.rotate_key_of_issuer(number).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        experiment.figure("rotations of API keys", api_keys);
        experiment.figure("rotations of keys of the issuer", issuer_keys);
        traffic
            .expect_nothing_failed(experiment, &scene.database)
            .await;
    })
    .await;
}

/// The control: a key that is removed before its clients have another one fails their requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
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
