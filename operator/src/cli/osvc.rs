//! The command line of `order-operator osvc`, which is also the kubectl plugin `kubectl osvc`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use super::duration;

/// File name of the program when kubectl runs it as a plugin.
const PLUGIN: &str = "kubectl-osvc";
/// Command that makes the operator's binary behave as the plugin.
const COMMAND: &str = "osvc";

/// Shows OrderServices with the causes of their state, and changes what they run.
///
/// Installed as `kubectl-osvc` in a directory of PATH, the program is the kubectl plugin `kubectl osvc`.
///
/// Exit codes: 0 done; 1 the cluster is not reachable or reports an error; 2 a wrong command line; 3 the object does
/// not exist, or there is nothing that the command could use; 4 not permitted.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl osvc",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub struct OsvcCli {
    /// The command to run.
    #[command(subcommand)]
    pub command: OsvcCommand,
    /// How the cluster is reached.
    #[command(flatten)]
    pub connection: Connection,
}

/// How the cluster is reached. The options have the names that kubectl uses.
#[derive(Clone, Debug, Args)]
pub struct Connection {
    /// Namespace of the OrderService [default: the namespace of the context]
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig [default: the current context]
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// File with the kubeconfig [default: KUBECONFIG, or ~/.kube/config]
    #[arg(long, value_name = "FILE", global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Time that the API server has to respond to each request
    #[arg(long, default_value = "15s", value_parser = duration, global = true)]
    pub request_timeout: Duration,
}

/// The commands of the plugin.
#[derive(Clone, Debug, Subcommand)]
pub enum OsvcCommand {
    /// Show OrderServices as trees: conditions, migrations, Deployment, ReplicaSets and pods, with causes
    Status(StatusArgs),
    /// Try a failed rollout or migration again, without a change of the spec
    Retry(NameArgs),
    /// Stop the operator from changing the objects of an OrderService (`spec.paused`)
    Pause(NameArgs),
    /// Let the operator continue after `pause`
    Resume(NameArgs),
    /// Set `spec.image` to the previous image that rolled out completely
    Rollback(RollbackArgs),
    /// Print the log of the newest pod that migrates the schema
    MigrateLogs(LogArgs),
}

/// Arguments of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Name of the OrderService [default: all of the namespace]
    #[arg(conflicts_with = "all_namespaces")]
    pub name: Option<String>,
    /// Show the OrderServices of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Format of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Whether to use colours; `auto` uses them on a terminal unless NO_COLOR is set
    #[arg(long, value_enum, default_value_t)]
    pub color: Color,
    /// Columns of the text [default: the width of the terminal, else unlimited]
    #[arg(long, value_parser = clap::value_parser!(u16).range(20..))]
    pub width: Option<u16>,
}

/// Format of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A tree
    #[default]
    Text,
    /// JSON: `{"items": [...]}`, one item for each OrderService
    Json,
}

/// Whether to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// Whether a terminal, or another output, gets colours. The variable `NO_COLOR` is described at
    /// <https://no-color.org>.
    pub fn is_used(self, is_terminal: bool) -> bool {
        self.decide(is_terminal, |name| {
            std::env::var_os(name).unwrap_or_default()
        })
    }

    fn decide(self, is_terminal: bool, variable: impl Fn(&str) -> OsString) -> bool {
        match self {
            Self::Auto => {
                is_terminal && variable("NO_COLOR").is_empty() && variable("TERM") != "dumb"
            }
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// The name of an OrderService.
#[derive(Clone, Debug, Args)]
pub struct NameArgs {
    /// Name of the OrderService
    pub name: String,
}

/// Arguments of `rollback`.
#[derive(Clone, Debug, Args)]
pub struct RollbackArgs {
    /// Name of the OrderService
    pub name: String,
    /// Image to set, instead of the previous one
    #[arg(long, value_name = "IMAGE")]
    pub to_image: Option<String>,
    /// Print what would be changed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `migrate-logs`.
#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// Name of the OrderService
    pub name: String,
    /// Print new lines until the pod ends
    #[arg(short, long)]
    pub follow: bool,
    /// Lines from the end of the log [default: all]
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(i64).range(0..))]
    pub tail: Option<i64>,
}

impl OsvcCli {
    /// Parses these arguments if they call the plugin: the program has the name of the plugin, or the first
    /// argument is the command `osvc`. Returns `None` if they call the operator.
    ///
    /// # Errors
    /// The error that is printed, with its exit code.
    pub fn read_from(words: &[OsString]) -> Option<Result<Self, clap::Error>> {
        let program = words.first().map(Path::new).and_then(Path::file_name);
        let (name, skipped) = if program.is_some_and(|name| name == PLUGIN) {
            ("kubectl osvc", 0)
        } else if words.get(1).is_some_and(|word| word == COMMAND) {
            ("order-operator osvc", 1)
        } else {
            return None;
        };
        let definition = <Self as clap::CommandFactory>::command().bin_name(name);
        let matches = definition.try_get_matches_from(words.iter().skip(skipped));
        Some(matches.and_then(|matches| Self::from_arg_matches(&matches)))
    }
}

#[cfg(test)]
mod tests;
