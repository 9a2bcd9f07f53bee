//! The subcommands. Those that need no cluster print YAML.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use crate::build::{self, Replicas, Target};
use crate::cli::Settings;
use crate::cluster::Kind;
use crate::crd::{self, OrderService};
use crate::reconcile::apply::Desired;
use crate::{logging, serve};

/// What a command failed with: a sentence for standard error.
pub type CommandResult = Result<(), Box<dyn std::error::Error>>;

/// Runs the operator until it is told to stop.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub fn run(settings: &Settings) -> CommandResult {
    let log = logging::init(settings.log_format(), &settings.rust_log)?;
    log.catch_panics();
    let result = serve::run(settings, &log);
    if let Err(error) = &result {
        log::error!("{error}");
    }
    log.finish();
    // Logged, and not printed: every line of standard error is a log line.
    result.map_err(|_| Logged.into())
}

/// Says on standard error why a command failed, unless that is in the log already.
pub fn report_error(error: &(dyn std::error::Error + 'static)) {
    if !error.is::<Logged>() {
        // Nobody may be reading, and nothing else could be done about it.
        let _ = writeln!(io::stderr(), "order-operator: {error}");
    }
}

/// A failure that is in the log.
#[derive(Debug, thiserror::Error)]
#[error("see the log")]
struct Logged;

/// Prints a text. Whoever reads only the beginning of it, such as `head`, closes the pipe.
fn print(text: &str) -> CommandResult {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}").into())
        }
        _ => Ok(()),
    }
}

/// Prints the custom resource definition.
///
/// # Errors
/// When it cannot be written as YAML, or standard output takes nothing.
pub fn print_crd() -> CommandResult {
    print(&crd::yaml()?)
}

/// Prints what would be applied for the OrderService in a file.
///
/// # Errors
/// When the file cannot be read, does not hold exactly one OrderService, or that cannot be built.
pub fn render(file: &Path) -> CommandResult {
    let in_file = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = if file == Path::new("-") {
        io::read_to_string(io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    let object = read(&text.map_err(|error| in_file(&error))?).map_err(|error| in_file(&error))?;
    let mut all = String::new();
    for desired in render_objects(object)? {
        write!(all, "---\n{}", serde_saphyr::to_string(&desired.value)?)?;
    }
    print(&all)
}

/// Reads one OrderService.
fn read(text: &str) -> Result<OrderService, Box<dyn std::error::Error>> {
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(text)?;
    let [value] = documents.as_slice() else {
        return Err(format!(
            "one OrderService is wanted, not {} objects",
            documents.len()
        )
        .into());
    };
    crd::check_kind(value)?;
    // By way of JSON, which is read here anyway: a second reader for each type is memory for nothing.
    Ok(serde_json::from_slice(&serde_json::to_vec(value)?)?)
}

/// What would be applied for an OrderService, in that order. In place of what only a cluster knows
/// (identities, and what secrets say) there are words.
///
/// # Errors
/// When it cannot be built.
pub fn render_objects(
    mut object: OrderService,
) -> Result<Vec<Desired>, Box<dyn std::error::Error>> {
    object
        .metadata
        .namespace
        .get_or_insert_with(|| "default".to_owned());
    object
        .metadata
        .uid
        .get_or_insert_with(|| "unknown".to_owned());
    let target = Target::new(&object)?;
    let secret = "unknown";
    let config_map = build::config_map(&target);
    let settings = config_map.metadata.name.clone().unwrap_or_default();
    let job = build::migration_job(&target, &build::migration_revision(&target, secret));
    let replicas = match &target.replicas {
        Replicas::Fixed(replicas) => Some(*replicas),
        Replicas::Autoscaled(_) => None,
    };
    let template = build::pod_template(&target, &settings, secret);
    let deployment = build::deployment(&target, template, replicas);
    let mut all = vec![
        Desired::new(Kind::ServiceAccount, &build::service_account(&target))?,
        Desired::new(Kind::ConfigMap, &config_map)?,
    ];
    if let Some(policy) = build::network_policy(&target) {
        all.push(Desired::new(Kind::NetworkPolicy, &policy)?);
    }
    all.push(Desired::new(Kind::Service, &build::service(&target))?);
    if let Some(budget) = build::pod_disruption_budget(&target) {
        all.push(Desired::new(Kind::PodDisruptionBudget, &budget)?);
    }
    all.push(Desired::new(Kind::Job, &job)?);
    all.push(Desired::new(Kind::Deployment, &deployment)?);
    if let Some(autoscaler) = build::horizontal_pod_autoscaler(&target) {
        all.push(Desired::new(Kind::HorizontalPodAutoscaler, &autoscaler)?);
    }
    Ok(all)
}
