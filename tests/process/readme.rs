//! The commands of the README succeed and print what it shows.

use std::process::Command;

use crate::support::database::Database;
use crate::support::server::Server;

crate::on_both!(the_curl_commands_of_the_readme_print_what_it_shows);

/// Every `curl` command of the README with the first line of output shown below it.
fn curl_commands() -> Vec<(String, String)> {
    let readme = include_str!("../../README.md");
    let lines: Vec<_> = readme.lines().collect();
    lines
        .windows(2)
        .filter_map(|pair| {
            let command = pair[0].strip_prefix("$ curl ")?;
            Some((format!("curl {command}"), pair[1].to_owned()))
        })
        .collect()
}

async fn the_curl_commands_of_the_readme_print_what_it_shows(database: Database) {
    let server = Server::start(&database, &[]).await;
    let commands = curl_commands();
    assert!(commands.len() >= 3, "{commands:?}");
    let mut last_id = String::new();
    for (command, shown) in commands {
        let command = command
            .replace("http://127.0.0.1:8080", &server.api)
            .replace("http://127.0.0.1:9090", &server.metrics)
            .replace("$ID", &last_id);
        let out = Command::new("bash")
            .args(["-c", &command])
            .output()
            .unwrap();
        let response = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success(), "{command}: {response}");
        let body = response.rsplit("\r\n\r\n").next().unwrap();
        if let Some(at) = body.find("\"id\":\"") {
            last_id = body.get(at + 6..at + 42).unwrap().to_owned();
        }
        assert_eq!(normalize(&response), normalize(&shown), "{command}");
    }
}

/// The first line, with a placeholder for words that differ from run to run: those with more than eight digits.
fn normalize(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut out = String::new();
    for word in line
        .split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == ':'))
    {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        out.push_str(if digits > 8 { "#" } else { word });
    }
    out
}
