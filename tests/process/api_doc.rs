//! The shell commands of docs/API.md succeed as written.

use std::process::Command;

use crate::support::database::Database;
use crate::support::server::Server;

crate::on_both!(the_commands_of_the_api_page_succeed);

async fn the_commands_of_the_api_page_succeed(database: Database) {
    let server = Server::start(&database, &[]).await;
    let page = include_str!("../../docs/API.md");
    let script: Vec<_> = page
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert_eq!(script.len(), 12);
    let dir = tempfile::tempdir().unwrap();
    let out = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", &script.concat()])
        .env("SERVER", &server.api)
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}
