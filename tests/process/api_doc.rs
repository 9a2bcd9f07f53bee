//! The session of docs/API.md works as it stands there.

use std::process::Command;

use crate::support::database::Database;
use crate::support::server::Server;

crate::on_both!(the_session_of_the_api_page_works);

async fn the_session_of_the_api_page_works(database: Database) {
    let server = Server::start(&database, &[]).await;
    let page = include_str!("../../docs/API.md");
    let script: Vec<_> = page
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert_eq!(script.len(), 5);
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
