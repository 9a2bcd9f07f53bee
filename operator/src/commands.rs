//! The subcommands that need no cluster. Each prints YAML.

#![expect(clippy::print_stdout, reason = "standard output is what these are for")]

use std::path::Path;

use crate::build::{self, Replicas, Target};
use crate::cluster::Kind;
use crate::controller::apply::Desired;
use crate::crd::{self, OrderService};

/// What a command failed with: a sentence for standard error.
pub type CommandResult = Result<(), Box<dyn std::error::Error>>;

/// Prints the custom resource definition.
///
/// # Errors
/// When it cannot be written as YAML.
pub fn definition() -> CommandResult {
    print!("{}", crd::yaml()?);
    Ok(())
}

/// Prints what would be applied for the OrderService in a file.
///
/// # Errors
/// When the file cannot be read, or its OrderService cannot be built.
pub fn render(file: &Path) -> CommandResult {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())?
    } else {
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?
    };
    // By way of JSON, which is read here anyway: a second reader for each type is memory for nothing.
    let value: serde_json::Value = serde_saphyr::from_str(&text)?;
    for desired in rendered(serde_json::from_slice(&serde_json::to_vec(&value)?)?)? {
        println!("---");
        print!("{}", serde_saphyr::to_string(&desired.value)?);
    }
    Ok(())
}

/// What would be applied for an OrderService, in that order. In place of what only a cluster knows
/// (identities, and what secrets say) there are words.
///
/// # Errors
/// When it cannot be built.
pub fn rendered(mut object: OrderService) -> Result<Vec<Desired>, Box<dyn std::error::Error>> {
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
