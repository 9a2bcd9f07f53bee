//! No credential and no body of a request appears in anything that the process writes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::auth_file::{AuthFile, ISSUER, Issuer, api_key, bearer, entry, in_seconds};
use crate::support::binary::{run, stderr};
use crate::support::database::Database;
use crate::support::event_stream::EventStream;
use crate::support::eventually;
use crate::support::raw_client::RawClient;
use crate::support::server::Server;

crate::on_both!(nothing_that_the_process_writes_contains_a_secret);

/// Serves an empty key set, which is not usable, and echoes the request in it.
async fn echoing_key_server() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let echo = json!({"keys": [], "request": String::from_utf8_lossy(&request[..read])});
            let body = echo.to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes()).await;
        }
    });
    format!("http://{address}/jwks")
}

async fn nothing_that_the_process_writes_contains_a_secret(database: Database) {
    let issuer = Issuer::new("one");
    let mut file = AuthFile::new("");
    let (jwks, jwks_token) = (file.beside("jwks.json"), file.beside("token"));
    std::fs::write(&jwks, issuer.jwks().to_string()).unwrap();
    std::fs::write(&jwks_token, "planted-jwks-token\n").unwrap();
    let all = ["orders:read", "orders:write", "events:read"];
    file.write(&format!(
        "[[issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"order-service\"]\njwks_file = {jwks:?}\n\
         [[issuer]]\nissuer = \"https://echo.example\"\naudiences = [\"order-service\"]\n\
         jwks_url = \"{}\"\ntoken_file = {jwks_token:?}\n{}{}",
        echoing_key_server().await,
        entry(&api_key("all"), &all, "acme"),
        entry(&api_key("reader"), &["orders:read"], "acme"),
    ));
    let server = Server::start(
        &database,
        &[
            ("AUTH_FILE", &file.path()),
            (
                "RUST_LOG",
                "trace,actix_http=trace,tokio_postgres::query=trace",
            ),
        ],
    )
    .await;
    let token = |claims: Value| issuer.token(claims);
    let good = token(json!({"sub": "shop", "scope": all.join(" "), "exp": in_seconds(600)}));
    let expired = token(json!({"sub": "shop", "scope": all.join(" "), "exp": 1}));
    let forged = Issuer::new("one").token(json!({"sub": "shop", "exp": in_seconds(600)}));
    let credentials = [
        api_key("all"),
        api_key("reader"),
        api_key("unknown"),
        good.clone(),
        expired,
        forged,
        "planted-credential".to_owned(),
        "planted credential".to_owned(),
        "planted.jwt.credential".to_owned(),
    ];
    let body = json!({
        "product_id": "planted-product", "quantity": 1, "customer_id": "planted-customer",
        "metadata": {"planted-name": "planted-value"},
    });
    let mut problems = String::new();
    let mut headers: Vec<_> = credentials.iter().map(|text| bearer(text)).collect();
    headers.extend(["Basic planted-basic".to_owned(), "planted-alone".to_owned()]);
    for header in &headers {
        let request = |method: &str, path: &str| {
            let request = server
                .client
                .request(method.parse().unwrap(), server.url(path));
            request.header("authorization", header)
        };
        let created = request("POST", "/api/v1/orders")
            .json(&body)
            .send()
            .await
            .unwrap();
        let mut responses = vec![
            request("POST", "/api/v1/orders")
                .body("{\"planted-body")
                .send()
                .await
                .unwrap(),
            request("GET", "/api/v1/orders?access_token=planted-query")
                .send()
                .await
                .unwrap(),
            request("GET", "/api/v1/events").send().await.unwrap(),
            request("GET", "/nope").send().await.unwrap(),
        ];
        if created.status() == 201 {
            let path = created.header("location").to_owned();
            let patch = json!({"metadata": {"planted-name": "planted-change"}});
            responses.push(request("PATCH", &path).json(&patch).send().await.unwrap());
            responses.push(request("GET", &path).send().await.unwrap());
        } else {
            responses.push(created);
        }
        let failed = responses.iter().filter(|response| response.status() >= 400);
        problems
            .extend(failed.map(|response| format!("{:?} {}", response.headers(), response.text())));
    }
    let mut raw = RawClient::connect(&server.api).await;
    for request in [
        format!(
            "GET http://planted-user:planted-password@localhost/api/v1/orders HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n",
            bearer(&good)
        ),
        format!("GET /api/v1/orders HTTP/1.1\r\nHost: x\r\n{}\r\n", "Authorization: Bearer planted-twice\r\n".repeat(2)),
        "GET /api/v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer planted-colon\r\nContent-Length: planted-length\r\n\r\n".to_owned(),
    ] {
        raw.send(request).await;
        let response = raw.response().await;
        problems.push_str(&response.head);
        if response.status >= 400 {
            problems.push_str(&String::from_utf8_lossy(&response.body));
        }
    }
    let mut stream = EventStream::open_with(&server, &good, None).await;
    assert!(stream.next().await.is_some());
    // Another content of the file, which is bad.
    let bad = format!("[[api_key]]\nid = \"{}\"\nsha256 = 7\n", api_key("all"));
    file.write(&bad);
    eventually(
        "the bad file is reported",
        Duration::from_secs(10),
        async || server.logs().iter().any(|line| line["level"] == "ERROR"),
    )
    .await;
    let metrics = server.scrape().await;
    assert!(server.lines().len() > 100, "trace level is in force");
    for (what, text) in [
        ("log", server.lines().join("\n")),
        ("metrics", metrics),
        ("problems", problems),
    ] {
        expect_no_secret(what, &text, &credentials);
    }
}

fn expect_no_secret(what: &str, text: &str, credentials: &[String]) {
    // `planted` as text, as the debug form of bytes, and in hex.
    let forms = [
        "planted",
        "112, 108, 97, 110, 116, 101, 100",
        "706c616e746564",
    ];
    for line in text.lines() {
        for form in forms {
            assert!(!line.contains(form), "{what}: {line}");
        }
        for credential in credentials {
            // The id of a key and the issuer of a token are no secrets. The secret of a key is its last part, and
            // each part of a token is one.
            let separator = if credential.starts_with("osk_") {
                '_'
            } else {
                '.'
            };
            let parts = credential.split(separator).filter(|part| part.len() > 20);
            for part in parts {
                assert!(!line.contains(part), "{what}: {part} in {line}");
            }
        }
    }
}

#[test]
fn an_error_in_a_bad_file_does_not_quote_it() {
    for text in [
        "[[api_key]]\nid = \"a\nplanted\"".to_owned(),
        "[[api_key]]\nid = \"a\"\nsha256 = \"planted\"\nscopes = [\"admin\"]\n".to_owned(),
        "[[api_key]]\nid = [\"planted\"]\n".to_owned(),
        "[[api_key]]\nid = \"a\"\nsha256 = \"0\"\nscopes = \"planted\"\n".to_owned(),
        "[[api_key]]\nid = \"osk_a_planted\"\nsha256 = \"0\"\nscopes = [\"admin\"]\n".to_owned(),
        format!(
            "[[api_key]]\nid = \"a\"\nsha256 = \"{}\"\nscopes = [\"planted\"]\n",
            "0".repeat(64)
        ),
        format!(
            "[[api_key]]\nid = \"a\"\nsha256 = \"{}\"\nscopes = [\"admin\"]\ntenant = \"PLANTED planted\"\n",
            "0".repeat(64)
        ),
        format!(
            "[[api_key]]\nid = \"a\"\nsha256 = \"{}\"\nscopes = [\"admin\"]\nexpires = \"planted\"\n",
            "0".repeat(64)
        ),
        "[[issuer]]\nissuer = \"https://user:planted@issuer.example\"\naudiences = [\"a\"]\n".to_owned(),
        "[[issuer]]\nissuer = \"i\"\naudiences = [\"a\"]\njwks_url = \"https://user:planted@issuer.example\"\n".to_owned(),
    ] {
        let file = AuthFile::new(&text);
        let out = run(
            &[],
            &[
                ("AUTH_FILE", &file.path()),
                ("DATABASE_URL", "sqlite::memory:"),
                ("BIND_ADDRESS", "127.0.0.1:0"),
                ("METRICS_ADDRESS", "127.0.0.1:0"),
            ],
        );
        let message = stderr(&out);
        assert_eq!(out.status.code(), Some(2), "{text}: {message}");
        assert!(message.contains("AUTH_FILE"), "{message}");
        assert!(!message.contains("planted"), "{message}");
    }
}
