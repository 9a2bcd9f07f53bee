//! The shell commands and the examples of docs/ACCESS.md succeed as written.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::binary::{BINARY, run, stderr};
use crate::support::database::Database;
use crate::support::server::Server;

crate::on_both!(the_commands_of_the_access_page_succeed);

const PAGE: &str = include_str!("../../docs/ACCESS.md");

/// The code blocks of a language, in their order, without their indentation.
fn blocks(language: &str) -> Vec<String> {
    let fence = format!("```{language}");
    let mut found = Vec::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if line.trim_start() != fence {
            continue;
        }
        let indentation = line.len() - fence.len();
        let block = lines.by_ref().take_while(|line| line.trim() != "```");
        let text = |line: &str| format!("{}\n", line.get(indentation..).unwrap_or_default());
        found.push(block.map(text).collect());
    }
    found
}

async fn the_commands_of_the_access_page_succeed(database: Database) {
    let script = blocks("sh");
    assert_eq!(script.len(), 10);
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let issuer = start_issuer();
    let path = Path::new(BINARY).parent().unwrap().display().to_string();
    let preamble = "trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n";
    let out = Command::new("timeout")
        .args(["180", "bash", "-euxo", "pipefail", "-c"])
        .arg(format!("{preamble}{}", script.concat()))
        .env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap()))
        .env("SERVER", format!("http://{address}"))
        .env("ISSUER", issuer)
        .env("BIND_ADDRESS", &address)
        .env("METRICS_ADDRESS", "127.0.0.1:0")
        .env("DATABASE_URL", database.url())
        .env("MIGRATE_ON_START", "true")
        .env("DRAIN_DELAY", "0s")
        .current_dir(directory.path())
        .output()
        .unwrap();
    let log = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap_or_default();
    assert!(
        out.status.success(),
        "{}\n{}\n{}",
        stderr(&out),
        log("open.log"),
        log("service.log")
    );
}

#[tokio::test]
async fn the_service_accepts_each_example_of_auth_file() {
    let mut examples = blocks("toml");
    assert_eq!(examples.len(), 3);
    let component = include_str!("../../kustomize/components/kubernetes-auth/auth.toml");
    examples.push(component.to_owned());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("auth.toml");
    let database = Database::sqlite();
    let url = database.url();
    let variables = [
        ("AUTH_FILE", file.to_str().unwrap()),
        ("BIND_ADDRESS", "127.0.0.1:0"),
        ("METRICS_ADDRESS", "127.0.0.1:0"),
        ("DATABASE_URL", url.as_str()),
    ];
    for example in examples {
        std::fs::write(&file, &example).unwrap();
        let server = Server::spawn(&variables).await;
        assert_eq!(server.status("/api/v1/orders").await, 401, "{example}");
        drop(server);
        // A misspelt field is detected, so the check above can fail.
        std::fs::write(&file, example.replacen("audiences", "audience", 1)).unwrap();
        let out = run(&["serve"], &variables);
        assert_eq!(out.status.code(), Some(2), "{example}: {}", stderr(&out));
    }
}

/// An address of this host that is free now.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Starts a realm as Keycloak has it, and returns its issuer: discovery, keys and an end-point for tokens.
fn start_issuer() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}/realms/shop", listener.local_addr().unwrap());
    let keys = Ed25519KeyPair::generate().unwrap();
    let realm = Realm {
        issuer: issuer.clone(),
        keys,
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A client that disconnects is its own test's failure.
            let _ = realm.respond(stream);
        }
    });
    issuer
}

struct Realm {
    issuer: String,
    keys: Ed25519KeyPair,
}

impl Realm {
    fn respond(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut request = String::new();
        reader.read_line(&mut request)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut form = vec![0; length];
        reader.read_exact(&mut form)?;
        let target = request.split(' ').nth(1).unwrap_or_default();
        let body = match target.strip_prefix("/realms/shop") {
            Some("/.well-known/openid-configuration") => json!({
                "issuer": self.issuer,
                "jwks_uri": format!("{}/protocol/openid-connect/certs", self.issuer),
            }),
            Some("/protocol/openid-connect/certs") => json!({"keys": [{
                "kty": "OKP", "crv": "Ed25519", "kid": "k1", "use": "sig", "alg": "EdDSA",
                "x": URL_SAFE_NO_PAD.encode(self.keys.public_key()),
            }]}),
            Some("/protocol/openid-connect/token") if form.starts_with(b"grant_type=") => {
                json!({"access_token": self.token(), "expires_in": 300, "token_type": "Bearer"})
            }
            _ => Value::Null,
        };
        let status = if body.is_null() {
            "404 Not Found"
        } else {
            "200 OK"
        };
        let body = body.to_string();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        )
    }

    /// A token with the claims of Keycloak, which has neither `client_id` nor `jti` here.
    fn token(&self) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"});
        let claims = json!({
            "iss": self.issuer, "aud": ["order-service", "account"], "exp": now + 300, "iat": now,
            "sub": "f3a9c5be-6a5b-4f0c-8c9d-1d2e3f405162", "typ": "Bearer", "azp": "shop",
            "scope": "profile orders:read orders:write", "tenant": "acme",
        });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encode(&header), encode(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.keys.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}
