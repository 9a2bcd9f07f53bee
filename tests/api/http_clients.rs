//! Common HTTP clients and nginx receive responses that are sent before their request is complete.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::server::Server;

/// Runs a program and returns its standard output; `None` when the program is not installed.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let version = Command::new(program).arg("--version").output();
    if version.is_err() {
        eprintln!("skipped: {program} is not installed");
        return None;
    }
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{errors}");
    Some(text)
}

/// The path of a script in tests/clients.
fn script(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name);
    path.to_str().unwrap().to_owned()
}

/// The output of each script: the statuses of its requests.
const STATUSES: &str = "201 413 413 415 422 404 201";

#[tokio::test]
async fn java_receives_every_early_response() {
    let server = Server::on_sqlite(&[]).await;
    let url = server.api.clone();
    let statuses =
        tokio::task::spawn_blocking(move || run("java", &[&script("Client.java"), &url]));
    if let Some(statuses) = statuses.await.unwrap() {
        assert_eq!(statuses.trim(), STATUSES);
    }
}

#[tokio::test]
async fn node_receives_every_early_response() {
    let server = Server::on_sqlite(&[]).await;
    let url = server.api.clone();
    let statuses = tokio::task::spawn_blocking(move || run("node", &[&script("client.mjs"), &url]));
    if let Some(statuses) = statuses.await.unwrap() {
        assert_eq!(statuses.trim(), STATUSES);
    }
}

/// nginx. It is killed on drop.
struct Nginx(std::process::Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn nginx_forwards_every_early_response() {
    // Behind a proxy, `Host` is not a name of this host.
    let server = Server::on_sqlite(&[("AUTH_ANONYMOUS", "all")]).await;
    let directory = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let path = directory.path().display();
    let configuration = format!(
        "daemon off; master_process off; pid {path}/pid; error_log stderr;
         events {{}}
         http {{
           access_log off; client_max_body_size 0; client_body_temp_path {path}/body;
           proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u;
           scgi_temp_path {path}/s;
           upstream service {{ server {}; keepalive 4; }}
           server {{
             listen {address};
             location / {{ proxy_pass http://service; proxy_http_version 1.1;
               proxy_set_header Connection ''; }}
             location /unbuffered/ {{ proxy_pass http://service/; proxy_http_version 1.1;
               proxy_request_buffering off; proxy_set_header Connection ''; }}
           }}
         }}",
        server.address()
    );
    let file = directory.path().join("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    let child = Command::new("nginx")
        .arg("-c")
        .arg(&file)
        .arg("-p")
        .arg(directory.path())
        .stderr(std::process::Stdio::null())
        .spawn();
    let Ok(child) = child else {
        eprintln!("skipped: nginx is not installed");
        return;
    };
    let _nginx = Nginx(child);
    // A connection for each request: nginx closes a connection after an early response, and announces it late.
    let client = reqwest::Client::builder().pool_max_idle_per_host(0);
    let client = client.build().unwrap();
    for _ in 0..100 {
        if client
            .get(format!("http://{address}/healthz"))
            .send()
            .await
            .is_ok()
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for location in ["", "/unbuffered"] {
        for (path, kind, size, status) in [
            ("/api/v1/orders", "application/json", 70_000, 413),
            ("/api/v1/orders", "application/json", 300_000, 413),
            ("/api/v1/orders", "application/json", 8 << 20, 413),
            ("/api/v1/orders", "text/plain", 8 << 20, 415),
            ("/nope", "text/plain", 8 << 20, 404),
            ("/api/v1/orders", "application/json", 2, 400),
        ] {
            for round in 0..5 {
                let request = client.post(format!("http://{address}{location}{path}"));
                let request = request.header("content-type", kind).body(vec![b'x'; size]);
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), status, "{location} {size} {round}");
            }
        }
    }
}
