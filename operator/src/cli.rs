//! The command line and the environment. No other module reads either.

pub mod osvc;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use order_logging::LogFormat;

/// What the program is called for.
#[derive(Debug)]
pub enum Invocation {
    /// The operator, or a command of it.
    Operator(Cli),
    /// The kubectl plugin.
    Osvc(osvc::OsvcCli),
}

impl Invocation {
    /// Reads the command line and the environment. For an invalid value, prints the option and the accepted
    /// values, and ends the process with exit code 2.
    pub fn read() -> Self {
        let words: Vec<_> = std::env::args_os().collect();
        let invocation = match osvc::OsvcCli::read_from(&words) {
            Some(osvc) => osvc.map(Self::Osvc),
            None => Cli::read_from(words).map(Self::Operator),
        };
        invocation.unwrap_or_else(|error| error.exit())
    }
}

/// Deploys, migrates and upgrades order-service, as described by OrderService objects.
///
/// Without a command it runs the operator. Every option is also an environment variable.
#[derive(Debug, Parser)]
#[command(
    name = "order-operator",
    version,
    max_term_width = 100,
    after_help = "`order-operator osvc --help` describes the kubectl plugin, which shows and changes OrderServices."
)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
}

impl Cli {
    /// Parses these arguments, of which the first is the name of the program, and the environment. An
    /// empty variable counts as unset.
    ///
    /// # Errors
    /// The error that `read` would print.
    pub fn read_from<T: Into<OsString> + Clone>(
        words: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let is_empty =
            |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|v| v.is_empty());
        let definition = Self::command().mut_args(|arg| match arg.get_env() {
            Some(name) if is_empty(name) => arg.env(Resettable::Reset),
            _ => arg,
        });
        Self::from_arg_matches(&definition.try_get_matches_from(words)?)
    }
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the operator (the default)
    Run,
    /// Print the custom resource definition
    Crd,
    /// Print the objects that would be applied for an OrderService, without a cluster
    Render(RenderArgs),
}

/// Arguments of `render`.
#[derive(Clone, Debug, Args)]
pub struct RenderArgs {
    /// File with one OrderService, or `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
}

/// Every setting of the operator.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct Settings {
    /// Watch this namespace only [default: all namespaces, as with an empty value]
    #[arg(
        long = "namespace",
        env = "WATCH_NAMESPACE",
        value_name = "NAMESPACE",
        global = true
    )]
    watch_namespace: Option<String>,
    /// Namespace in which the operator runs, and of its Lease
    #[arg(
        long,
        env = "POD_NAMESPACE",
        default_value = "order-operator-system",
        global = true
    )]
    pub pod_namespace: String,
    /// Name of the Lease [default: order-operator, or order-operator-NAMESPACE for an operator of one namespace]
    #[arg(long, env, value_name = "NAME", global = true)]
    lease_name: Option<String>,
    /// Name of this process in the Lease [default: the host name]
    #[arg(long, env = "POD_NAME", global = true)]
    pub pod_name: Option<String>,
    /// Address of the probes
    #[arg(long, env, default_value = "127.0.0.1:8081", global = true)]
    pub health_address: SocketAddr,
    /// Address of the metrics
    #[arg(long, env, default_value = "127.0.0.1:9090", global = true)]
    pub metrics_address: SocketAddr,
    /// Interval between reconciles of an object that does not change
    #[arg(long, env, default_value = "60s", value_parser = duration, global = true)]
    pub resync_period: Duration,
    /// Maximum number of objects that are reconciled at the same time
    #[arg(long, env, default_value = "16", value_parser = clap::value_parser!(u16).range(1..=256), global = true)]
    pub concurrency: u16,
    /// Maximum number of rollouts at the same time that no change of a spec requested
    #[arg(long, env, default_value = "5", value_parser = clap::value_parser!(u16).range(1..=1000), global = true)]
    pub max_concurrent_rollouts: u16,
    /// Failed rollouts of this version of the operator after which it starts no further one by itself
    #[arg(long, env, default_value = "3", value_parser = clap::value_parser!(u16).range(1..=1000), global = true)]
    pub max_failed_rollouts: u16,
    /// Time after which a leader that does not renew its Lease is replaced
    #[arg(long, env, default_value = "15s", value_parser = whole_seconds, global = true)]
    pub lease_duration: Duration,
    /// Time that running reconciles have to finish after SIGTERM
    #[arg(long, env, default_value = "20s", value_parser = duration, global = true)]
    pub shutdown_timeout: Duration,
    /// Format of the log lines [default: text on a terminal, else json]
    #[arg(long, env, global = true)]
    log_format: Option<LogFormat>,
    /// What to log: a level, or `target=level` items separated by commas
    #[arg(long, env, default_value = "info", global = true)]
    pub rust_log: String,
}

/// A value is not a valid duration.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
enum DurationError {
    #[error("takes a duration such as 15s or 5m, from 1s to 24h")]
    Duration,
    #[error("takes whole seconds, such as 15s, from 1s to 24h")]
    WholeSeconds,
}

fn duration(text: &str) -> Result<Duration, DurationError> {
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| {
            (Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(duration)
        })
        .ok_or(DurationError::Duration)
}

/// A Lease stores whole seconds; truncation would make its holder and the other candidates disagree.
fn whole_seconds(text: &str) -> Result<Duration, DurationError> {
    duration(text)
        .ok()
        .filter(|duration| duration.subsec_nanos() == 0)
        .ok_or(DurationError::WholeSeconds)
}

impl Settings {
    /// The format of the log lines: the configured format, or text if standard error is a terminal.
    pub fn log_format(&self) -> LogFormat {
        self.log_format.unwrap_or_else(LogFormat::of_stderr)
    }

    /// The watched namespace, or `None` for all namespaces.
    pub fn watched(&self) -> Option<&str> {
        self.watch_namespace
            .as_deref()
            .filter(|name| !name.is_empty())
    }

    /// The name of the Lease. By default, operators of different namespaces do not compete for one Lease, even if
    /// they run in the same namespace.
    pub(crate) fn lease_name(&self) -> String {
        match (&self.lease_name, self.watched()) {
            (Some(name), _) => name.clone(),
            (None, Some(namespace)) => format!("order-operator-{namespace}"),
            (None, None) => "order-operator".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_empty_namespace_means_all_namespaces() {
        let watched = |args: &[&str]| {
            let cli = Cli::try_parse_from(["order-operator"].iter().chain(args)).unwrap();
            cli.settings.watched().map(str::to_owned)
        };
        assert_eq!(watched(&["--namespace", "shop"]).as_deref(), Some("shop"));
        assert_eq!(watched(&["--namespace", ""]), None);
    }

    #[test]
    fn the_lease_is_named_by_the_namespace_unless_it_is_set() {
        let lease = |args: &[&str]| {
            let cli = Cli::try_parse_from(["order-operator"].iter().chain(args)).unwrap();
            cli.settings.lease_name()
        };
        assert_eq!(lease(&[]), "order-operator");
        assert_eq!(lease(&["--namespace", "shop"]), "order-operator-shop");
        let set = ["--namespace", "shop", "--lease-name", "order-operator"];
        assert_eq!(lease(&set), "order-operator");
    }

    #[test]
    fn durations_have_a_unit_and_bounds() {
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for bad in ["0s", "5", "2days"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_lease_duration_is_whole_seconds() {
        let parse = |text: &str| Cli::try_parse_from(["order-operator", "--lease-duration", text]);
        let lease = parse("2s").unwrap().settings.lease_duration;
        assert_eq!(lease, Duration::from_secs(2));
        for bad in ["1500ms", "15s 1ms", "500ms", "15"] {
            let message = parse(bad).unwrap_err().to_string();
            assert!(
                message.contains("--lease-duration") && message.contains("takes whole seconds"),
                "{message}"
            );
        }
    }
}
