//! The subcommands. `crd` and `render` print YAML and need no cluster.

use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::build::{self, InvalidSpec, Resources, SecretDigests, Target, Workload};
use crate::cli::Settings;
use crate::cluster::Kind;
use crate::crd::{self, OrderService};
use crate::logging;
use crate::reconcile::apply::Desired;
use crate::serve::{self, ServeError};

/// Why a command failed. The text is printed to standard error.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The log already contains the failure, so it is not printed.
    #[error("see the log")]
    Logged(#[source] ServeError),
    /// The log cannot be started.
    #[error("log: {0}")]
    Log(#[source] io::Error),
    /// Standard output cannot be written.
    #[error("standard output: {0}")]
    Output(#[source] io::Error),
    /// The custom resource definition cannot be written.
    #[error(transparent)]
    Definition(#[from] crd::DefinitionError),
    /// A file does not contain one OrderService.
    #[error("{file}: {source}")]
    Input {
        /// The file, or `-`.
        file: String,
        /// The reason why the file cannot be used.
        source: Box<InputError>,
    },
    /// The objects cannot be built.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// An object cannot be written as YAML.
    #[error(transparent)]
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file is not YAML.
    #[error(transparent)]
    Yaml(#[from] serde_saphyr::Error),
    /// The file contains no object or several objects.
    #[error("expected one OrderService, found {0} objects")]
    Count(usize),
    /// The file contains an object of another kind.
    #[error(transparent)]
    Kind(#[from] crd::KindError),
    /// The object does not match the schema.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Why the objects of an OrderService cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The spec is invalid.
    #[error(transparent)]
    InvalidSpec(#[from] InvalidSpec),
    /// An object cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start or cannot continue.
pub fn run(settings: &Settings) -> Result<(), CommandError> {
    let log =
        logging::init(settings.log_format(), &settings.rust_log).map_err(CommandError::Log)?;
    log.catch_panics();
    let result = serve::run(settings, &log);
    if let Err(error) = &result {
        log::error!("{error}");
    }
    log.finish();
    // Every line on standard error is a log line, so the error is not printed again.
    result.map_err(CommandError::Logged)
}

/// Prints to standard error why a command failed, unless the log already contains the failure.
pub fn report_error(error: &CommandError) {
    if !matches!(error, CommandError::Logged(_)) {
        // If standard error is closed, the error cannot be reported anywhere else.
        let _ = writeln!(io::stderr(), "order-operator: {error}");
    }
}

/// Prints a text. A closed pipe is not an error: `head`, for example, reads only the beginning.
fn print(text: &str) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(()),
    }
}

/// Prints the custom resource definition.
///
/// # Errors
/// When it cannot be written as YAML, or standard output cannot be written.
pub fn print_crd() -> Result<(), CommandError> {
    print(&crd::yaml()?)
}

/// Prints the objects that would be applied for the OrderService in a file.
///
/// # Errors
/// When the file cannot be read, does not contain exactly one OrderService, or contains an invalid spec.
pub fn render(file: &Path) -> Result<(), CommandError> {
    let object = read_file(file).map_err(|source| CommandError::Input {
        file: file.display().to_string(),
        source: Box::new(source),
    })?;
    let mut all = String::new();
    for value in render_objects(object)? {
        all.push_str("---\n");
        all.push_str(&serde_saphyr::to_string(&value)?);
    }
    print(&all)
}

fn read_file(file: &Path) -> Result<OrderService, InputError> {
    let text = if file == Path::new("-") {
        io::read_to_string(io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text?)?;
    let [value] = documents.as_slice() else {
        return Err(InputError::Count(documents.len()));
    };
    crd::check_kind(value)?;
    // Through JSON text: the program contains the JSON deserializer of the type anyway, and a second one from a
    // `Value` would cost memory.
    Ok(serde_json::from_slice(&serde_json::to_vec(value)?)?)
}

/// Returns the objects that would be applied for an OrderService, in the order in which they are applied. The
/// values that only a cluster provides (the UID, the digests of secrets) are `unknown`.
///
/// # Errors
/// When the objects cannot be built.
pub fn render_objects(mut object: OrderService) -> Result<Vec<Value>, RenderError> {
    let metadata = &mut object.metadata;
    metadata
        .namespace
        .get_or_insert_with(|| "default".to_owned());
    metadata.uid.get_or_insert_with(|| "unknown".to_owned());
    let unknown = SecretDigests {
        database: "unknown".to_owned(),
        migrations: "unknown".to_owned(),
    };
    let Resources {
        service_account,
        network_policy,
        config_map,
        service,
        pod_disruption_budget,
        workload,
        horizontal_pod_autoscaler,
        maintenance_cron_job,
        pod_monitor,
    } = build::resources(&Target::new(&object)?, Some(&unknown));
    let (migration_budget, migration_job, deployment) = match workload {
        Some(Workload {
            migration_revision: _,
            migration_job,
            migration_budget,
            deployment,
        }) => (migration_budget, Some(migration_job), Some(deployment)),
        None => (None, None, None),
    };
    let all = [
        Some(Desired::new(Kind::ServiceAccount, &service_account)),
        desired(Kind::NetworkPolicy, network_policy.as_ref()),
        Some(Desired::new(Kind::ConfigMap, &config_map)),
        Some(Desired::new(Kind::Service, &service)),
        desired(Kind::PodDisruptionBudget, pod_disruption_budget.as_ref()),
        // Only while the migration runs.
        desired(Kind::PodDisruptionBudget, migration_budget.as_ref()),
        desired(Kind::Job, migration_job.as_ref()),
        desired(Kind::Deployment, deployment.as_ref()),
        desired(
            Kind::HorizontalPodAutoscaler,
            horizontal_pod_autoscaler.as_ref(),
        ),
        desired(Kind::CronJob, maintenance_cron_job.as_ref()),
        desired(Kind::PodMonitor, pod_monitor.as_ref()),
    ];
    let values = all.into_iter().flatten();
    Ok(values
        .map(|desired| desired.map(|desired| desired.value))
        .collect::<Result<_, _>>()?)
}

fn desired<T: Serialize>(
    kind: Kind,
    object: Option<&T>,
) -> Option<Result<Desired, serde_json::Error>> {
    object.map(|object| Desired::new(kind, object))
}
