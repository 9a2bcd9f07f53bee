use super::*;
use crate::access::{Scope, Scopes};

fn read(args: &[&str]) -> Result<(Command, Settings), String> {
    let words = std::iter::once("order-service").chain(args.iter().copied());
    Cli::read_from(words, check).map_err(|error| error.to_string())
}

/// Replaces the check of the store.
fn check(url: &DatabaseUrl) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if url.expose().contains(":port") {
        return Err("a port is a number".into());
    }
    Ok(())
}

#[test]
fn the_definition_of_the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_names_every_variable_with_its_default() {
    let help = Cli::command().render_long_help().to_string();
    let defaults = [
        ("DATABASE_URL", "sqlite://orders.db"),
        ("BIND_ADDRESS", "127.0.0.1:8080"),
        (
            "AUTH_ANONYMOUS",
            "all on a loopback BIND_ADDRESS without AUTH_FILE, else none",
        ),
        ("METRICS_ADDRESS", "127.0.0.1:9090"),
        ("WORKERS", "the CPUs this process may use"),
        ("POOL_MAX_SIZE", "20"),
        ("POOL_MIN_IDLE", "5, or POOL_MAX_SIZE if that is less"),
        ("POOL_ACQUIRE_TIMEOUT", "5s"),
        ("POOL_IDLE_TIMEOUT", "300s"),
        ("POOL_MAX_LIFETIME", "1800s"),
        ("STATEMENT_TIMEOUT", "5s"),
        ("REQUEST_TIMEOUT", "10s"),
        ("MAX_BODY_BYTES", "65536"),
        ("QUEUE_CAPACITY", "4096"),
        ("MAX_CONNECTIONS", "8192"),
        ("RESPONSE_BUFFER_BYTES", "33554432"),
        ("MAX_STREAMS", "1000"),
        ("RATE_LIMIT", "unlimited"),
        ("RATE_BURST", "RATE_LIMIT"),
        ("MIGRATE_ON_START", "true for SQLite, false for PostgreSQL"),
        ("DRAIN_DELAY", "0s"),
        ("SHUTDOWN_TIMEOUT", "20s"),
        ("LOG_FORMAT", "text on a terminal, else json"),
        ("RUST_LOG", "info"),
    ];
    for (variable, default) in defaults {
        let flag = format!("--{}", variable.to_lowercase().replace('_', "-"));
        let at = help
            .find(&format!("{flag} <{variable}>"))
            .unwrap_or_else(|| panic!("{flag} in\n{help}"));
        let text: String = help
            .chars()
            .skip(help.split_at(at).0.chars().count())
            .take(600)
            .collect();
        assert!(text.contains(&format!("[env: {variable}")), "{text}");
        assert!(text.contains(&format!("[default: {default}]")), "{text}");
    }
    assert!(help.contains("--database-url-file <DATABASE_URL_FILE>"));
    assert!(help.contains("--auth-file <AUTH_FILE>"));
}

#[test]
fn serve_is_the_default_and_flags_may_come_before_or_after_the_command() {
    let (command, _) = read(&[]).unwrap();
    assert!(matches!(command, Command::Serve));
    for args in [
        ["--pool-max-size", "7", "serve"],
        ["serve", "--pool-max-size", "7"],
    ] {
        assert_eq!(read(&args).unwrap().1.pool_max_size.get(), 7);
    }
}

#[test]
fn an_invalid_value_is_rejected_with_its_variable() {
    for (args, named) in [
        (["--pool-max-size", "0"], "POOL_MAX_SIZE"),
        (["--pool-min-idle", "few"], "POOL_MIN_IDLE"),
        (["--statement-timeout", "soon"], "STATEMENT_TIMEOUT"),
        (["--bind-address", "localhost"], "BIND_ADDRESS"),
        (["--log-format", "xml"], "LOG_FORMAT"),
        (["--auth-anonymous", "orders:write,some"], "AUTH_ANONYMOUS"),
        (["--bind-address", "0.0.0.0:80"], "AUTH_FILE"),
        (["--bind-address", "[::]:80"], "AUTH_ANONYMOUS"),
        (["--migrate-on-start", "maybe"], "MIGRATE_ON_START"),
        (
            ["--database-url", "mysql://root:geheim@h/d"],
            "DATABASE_URL",
        ),
        (["--database-url", "sqlite://"], "DATABASE_URL"),
        (
            ["--database-url", "postgres://u:geheim@h:port/d"],
            "DATABASE_URL",
        ),
        (
            ["--database-url-file", "/no/such/file"],
            "DATABASE_URL_FILE",
        ),
    ] {
        let message = read(&args).map(|_| ()).unwrap_err();
        assert!(message.contains(named), "{message}");
        assert!(!message.contains("geheim"), "{message}");
    }
}

#[test]
fn only_a_loopback_address_is_open_without_settings() {
    let orders: Scopes = [Scope::OrdersRead, Scope::OrdersWrite]
        .into_iter()
        .collect();
    let (public, file) = (
        ["--bind-address", "0.0.0.0:80"],
        ["--auth-file", "auth.toml"],
    );
    for (args, expected) in [
        (vec![], Anonymous::Open),
        (vec!["--bind-address", "[::1]:80"], Anonymous::Open),
        (file.to_vec(), Anonymous::Scopes(Scopes::NONE)),
        ([public, file].concat(), Anonymous::Scopes(Scopes::NONE)),
        (
            vec!["--auth-anonymous", "all"],
            Anonymous::Scopes(Scopes::ALL),
        ),
        (
            [
                &public[..],
                &["--auth-anonymous", "orders:read, orders:write"],
            ]
            .concat(),
            Anonymous::Scopes(orders),
        ),
        (
            [&public[..], &["--auth-anonymous", "none"]].concat(),
            Anonymous::Scopes(Scopes::NONE),
        ),
    ] {
        let (_, settings) = read(&args).unwrap();
        assert_eq!(settings.anonymous(), expected, "{args:?}");
    }
    // Other commands serve nothing.
    let migrate = [&["migrate"][..], &public].concat();
    assert!(read(&migrate).is_ok());
}

#[test]
fn contradictions_are_rejected_and_a_default_adapts() {
    let message = read(&["--pool-max-size", "6", "--pool-min-idle", "7"])
        .map(|_| ())
        .unwrap_err();
    assert!(message.contains("POOL_MIN_IDLE"), "{message}");
    let (_, settings) = read(&["--pool-max-size", "2"]).unwrap();
    assert_eq!(settings.pool_min_idle(), 2);
}

#[test]
fn the_resolved_settings_contain_no_secret() {
    let url = "postgres://planted-user:planted-password@db:5433/shop?password=planted-query";
    let (_, settings) = read(&["--database-url", url]).unwrap();
    let resolved = settings.resolved(DatabaseKind::Postgres, |_| "described".to_owned());
    let all = format!("{resolved:?} {settings:?} {:?}", settings.database().url());
    assert!(all.contains("described"), "{all}");
    assert!(!all.contains("planted"), "{all}");
}

#[test]
fn a_file_takes_precedence_over_the_variable_and_is_read_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("url");
    std::fs::write(&file, "sqlite://one.db\n").unwrap();
    let path = file.to_str().unwrap();
    let (_, settings) = read(&["--database-url-file", path]).unwrap();
    let source = settings.database();
    assert_eq!(source.url().unwrap().expose(), "sqlite://one.db");
    std::fs::write(&file, "postgres://h/d").unwrap();
    assert_eq!(source.url().unwrap().kind(), DatabaseKind::Postgres);
}

#[test]
fn an_error_about_a_url_in_a_file_names_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for url in ["postgres://u:geheim@h:port/d", "mysql://root:geheim@h/d"] {
        std::fs::write(&file, url).unwrap();
        let path = file.path().to_str().unwrap();
        let message = read(&["--database-url-file", path])
            .map(|_| ())
            .unwrap_err();
        assert!(message.contains("DATABASE_URL_FILE"), "{message}");
        assert!(message.contains(path), "{message}");
        assert!(!message.contains("geheim"), "{message}");
    }
}
