//! The command line of the plugin.

use super::*;

fn read(words: &[&str]) -> Option<Result<OsvcCli, clap::Error>> {
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    OsvcCli::read_from(&words)
}

#[test]
fn the_definition_is_consistent() {
    <OsvcCli as clap::CommandFactory>::command().debug_assert();
}

#[test]
fn the_name_of_the_program_or_the_command_selects_the_plugin() {
    for words in [
        [
            "/usr/local/bin/kubectl-osvc",
            "-n",
            "shop",
            "retry",
            "orders",
        ]
        .as_slice(),
        &[
            "order-operator",
            "osvc",
            "retry",
            "orders",
            "--namespace=shop",
        ],
    ] {
        let cli = read(words).unwrap().unwrap();
        assert_eq!(cli.connection.namespace.as_deref(), Some("shop"));
        assert!(matches!(cli.command, OsvcCommand::Retry(args) if args.name == "orders"));
    }
    for words in [
        ["order-operator"].as_slice(),
        &["order-operator", "crd"],
        &["order-operator", "--namespace", "osvc"],
    ] {
        assert!(read(words).is_none(), "{words:?}");
    }
}

#[test]
fn a_wrong_command_line_has_exit_code_2_and_help_has_0() {
    for (words, code) in [
        (["kubectl-osvc", "retry"].as_slice(), 2),
        (&["kubectl-osvc"], 2),
        (&["kubectl-osvc", "status", "orders", "-A"], 2),
        (&["kubectl-osvc", "status", "--request-timeout", "5"], 2),
        (&["kubectl-osvc", "--help"], 0),
        (&["kubectl-osvc", "--version"], 0),
    ] {
        let error = read(words).unwrap().unwrap_err();
        assert_eq!(error.exit_code(), code, "{words:?}: {error}");
    }
    let usage = read(&["kubectl-osvc", "pause"]).unwrap().unwrap_err();
    assert!(usage.to_string().contains("kubectl osvc pause"), "{usage}");
}

#[test]
fn only_a_terminal_gets_colours_unless_no_color_is_set() {
    let variables = |of: &'static str, value: &'static str| {
        move |name: &str| OsString::from(if name == of { value } else { "" })
    };
    assert!(Color::Auto.decide(true, variables("TERM", "xterm")));
    assert!(!Color::Auto.decide(false, variables("TERM", "xterm")));
    assert!(!Color::Auto.decide(true, variables("TERM", "dumb")));
    assert!(!Color::Auto.decide(true, variables("NO_COLOR", "1")));
    assert!(Color::Always.decide(false, variables("NO_COLOR", "1")));
    assert!(!Color::Never.decide(true, variables("TERM", "xterm")));
}
