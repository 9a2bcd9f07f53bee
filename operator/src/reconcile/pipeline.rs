//! One reconcile: dereference, validate, build, apply, update the status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::runtime::controller::Action;
use tokio::time::timeout;

use super::apply::{self, Desired, Ownership};
use super::error::{Error, ErrorClass};
use super::migration::{self, Migration};
use super::reconciliation::Reconciliation;
use super::rollout::{Rollout, Template, plan};
use super::secrets::{self, Secrets};
use super::{Context, deployment};
use crate::backoff::jitter;
use crate::build::{self, Target};
use crate::cluster::Kind;
use crate::crd::OrderService;

/// A rollout is looked at this often: its pods are not watched.
const ROLLOUT_POLL_INTERVAL: Duration = Duration::from_secs(10);
/// A migration is looked at this often, in case its pod cannot start.
const MIGRATION_POLL_INTERVAL: Duration = Duration::from_secs(30);

/// When to look again, if nothing happens.
pub(super) enum NextReconcile {
    Resync,
    After(Duration),
    /// Something is missing that nobody watches.
    Backoff,
}

/// How long a reconcile may take. The API server may stop answering while the connection stands, and
/// nobody else would notice: the Lease and the watches have connections of their own.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long it may take to tell that it failed.
const FAILURE_REPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Errors that pass by themselves are told when they have lasted for so long.
const REPORT_FAILURE_AFTER: Duration = Duration::from_secs(120);

/// Brings the cluster closer to what an OrderService asks for.
///
/// # Errors
/// When it has to be tried again; `error_policy` says when.
pub async fn reconcile(object: Arc<OrderService>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let result = timeout(RECONCILE_TIMEOUT, run(&object, &context))
        .await
        .unwrap_or(Err(Error::Late));
    if let Err(error) = &result {
        // Whether it can be told or not: the error stays the same.
        let _ = timeout(
            FAILURE_REPORT_TIMEOUT,
            report_lasting_failure(&object, &context, error),
        )
        .await;
    }
    let metrics = &context.metrics;
    metrics
        .reconcile_duration
        .observe(started.elapsed().as_secs_f64());
    let outcome = match &result {
        Ok(_) => "success",
        Err(error) => error.class().as_str(),
    };
    metrics.reconciles.with_label_values(&[outcome]).inc();
    result
}

/// What should have passed and does not is told: nobody reads the log of an operator that seems well.
async fn report_lasting_failure(object: &OrderService, context: &Context, error: &Error) {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let is_passing = matches!(error.class(), ErrorClass::Transient | ErrorClass::Conflict);
    if !is_passing || context.records.backoff.failing_for(uid) < REPORT_FAILURE_AFTER {
        return;
    }
    let mut reconciliation = Reconciliation::new(context, object);
    reconciliation.target = Target::new(object).ok();
    reconciliation.observation.paused = object.spec.paused;
    reconciliation.observation.failing = Some(error.message());
    if let Err(error) = reconciliation.write_status().await {
        log::debug!(error = error.message().as_str(); "nor can it be told");
    }
    reconciliation.publish().await;
}

/// When to try again after an error.
pub fn error_policy(object: &OrderService, error: &Error, context: &Context) -> Action {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let class = error.class();
    let wait = context.records.backoff.failed(uid, class.first_retry());
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let level = match class {
        ErrorClass::Conflict | ErrorClass::Fenced => log::Level::Debug,
        ErrorClass::Transient | ErrorClass::Permanent => log::Level::Warn,
    };
    let retry = humantime::format_duration(Duration::from_millis(
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
    ));
    log::log!(
        level, name, namespace, class = class.as_str(), error = error.message().as_str(),
        retry_in:% = retry;
        "reconcile failed"
    );
    Action::requeue(wait)
}

async fn run(object: &OrderService, context: &Context) -> Result<Action, Error> {
    if object.metadata.deletion_timestamp.is_some() {
        // What it is made of goes with it by its ownerReferences.
        return Ok(Action::await_change());
    }
    let mut reconciliation = Reconciliation::new(context, object);
    let result = match reconciliation.converge().await {
        Err(error) if error.class() != ErrorClass::Permanent => {
            reconciliation.publish().await;
            return Err(error);
        }
        result => result,
    };
    // Somebody has to do something, so somebody has to know.
    reconciliation.observation.refused = result.as_ref().err().map(Error::message);
    let written = reconciliation.write_status().await;
    reconciliation.publish().await;
    let next = result?;
    written?;
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let wait = match next {
        NextReconcile::Backoff => context.records.backoff.waiting(uid),
        NextReconcile::Resync => {
            context.records.backoff.forget(uid);
            jitter(context.resync, 10)
        }
        NextReconcile::After(wait) => {
            context.records.backoff.forget(uid);
            wait.min(context.resync)
        }
    };
    Ok(Action::requeue(
        reconciliation
            .requeue_after
            .map_or(wait, |again| again.min(wait)),
    ))
}

impl Reconciliation<'_> {
    async fn converge(&mut self) -> Result<NextReconcile, Error> {
        let target = match Target::new(self.object) {
            Ok(target) => target,
            Err(invalid) => {
                self.observation.invalid = Some(invalid.to_string());
                return Ok(NextReconcile::Resync);
            }
        };
        self.observation.paused = target.paused;
        self.target = Some(target.clone());
        let context = self.context;
        let secrets = secrets::secrets(context, &target).await?;
        let live = apply::read(context, Kind::Deployment, &target.namespace, &target.name).await?;
        let ours = match &live {
            Some(live) => apply::ownership(&target, Kind::Deployment, live)? == Ownership::Ours,
            None => true,
        };
        if ours {
            self.observation.rollout = live.as_ref().map(Rollout::from_deployment);
        } else {
            self.record_conflict(Kind::Deployment, &target.name);
        }
        if target.paused {
            self.observe_paused(&target, secrets.ok());
            return Ok(NextReconcile::Resync);
        }
        let config_map = self.apply_supporting_objects(&target).await?;
        let secrets = match secrets {
            Ok(secrets) => secrets,
            Err(missing) => {
                self.observation.secret = Some(missing);
                return Ok(NextReconcile::Backoff);
            }
        };
        // Nothing may run with the identity or the settings of somebody else.
        if self.is_blocked() {
            return Ok(NextReconcile::Backoff);
        }
        let before = self.previous_status.migration.clone();
        let migrated =
            migration::migrate(context, &target, &secrets.migrations, before.as_ref()).await?;
        if let Migration::Foreign(job) = &migrated {
            self.record_conflict(Kind::Job, job);
        }
        self.observation.migration = migrated;
        if self.is_blocked() {
            return Ok(NextReconcile::Backoff);
        }
        let template = build::pod_template(&target, &config_map, &secrets.database);
        deployment::deploy(self, &target, template, live).await?;
        Ok(self.next())
    }

    /// What is there, told without touching it.
    fn observe_paused(&mut self, target: &Target, secrets: Option<Secrets>) {
        let Some(secrets) = secrets else {
            return;
        };
        let config_map = build::config_map(target).metadata.name.unwrap_or_default();
        let template = build::pod_template(target, &config_map, &secrets.database);
        let Ok(template) = serde_json::to_value(template).map(Template) else {
            return;
        };
        self.observation.desired = Some(template.revision().to_owned());
        let nothing = Rollout::default();
        let live = self.observation.rollout.as_ref().unwrap_or(&nothing);
        // What failed before stays told; what fails now is decided when the pause is over.
        self.observation.plan = plan(
            &template,
            live,
            false,
            self.previous_status.failed_revision.as_ref(),
            None,
        )
        .filter(|plan| plan.failed == self.previous_status.failed_revision);
    }

    /// Everything that pods need around them. Returns the name of their settings.
    async fn apply_supporting_objects(&mut self, target: &Target) -> Result<String, Error> {
        let config_map = Desired::new(Kind::ConfigMap, &build::config_map(target))?;
        let settings = config_map.name.clone();
        let mut all = vec![
            Desired::new(Kind::ServiceAccount, &build::service_account(target))?,
            config_map,
            Desired::new(Kind::Service, &build::service(target))?,
        ];
        match build::network_policy(target) {
            Some(policy) => all.insert(1, Desired::new(Kind::NetworkPolicy, &policy)?),
            None => apply::delete_except(self.context, target, Kind::NetworkPolicy, &[]).await?,
        }
        match build::pod_disruption_budget(target) {
            Some(budget) => all.push(Desired::new(Kind::PodDisruptionBudget, &budget)?),
            None => {
                apply::delete_except(self.context, target, Kind::PodDisruptionBudget, &[]).await?
            }
        }
        for desired in &all {
            let outcome = apply::ensure(self.context, target, desired).await?;
            self.record(desired, &outcome);
        }
        Ok(settings)
    }

    /// Whether a name is taken without which no pod can be run.
    fn is_blocked(&self) -> bool {
        let blocking = [
            Kind::ServiceAccount,
            Kind::ConfigMap,
            Kind::Job,
            Kind::Deployment,
        ];
        self.observation.conflicts.iter().any(|conflict| {
            let is_of = |kind: &Kind| conflict.starts_with(&format!("{} ", kind.as_str()));
            blocking.iter().any(is_of)
        })
    }

    fn next(&self) -> NextReconcile {
        if !self.observation.conflicts.is_empty() {
            // Nobody tells when the name becomes free.
            return NextReconcile::Backoff;
        }
        match &self.observation.migration {
            Migration::Running(_) | Migration::Retrying(_) => {
                return NextReconcile::After(MIGRATION_POLL_INTERVAL);
            }
            Migration::Unknown
            | Migration::Done(_)
            | Migration::Failed(_)
            | Migration::Foreign(_) => {}
        }
        match &self.observation.rollout {
            Some(rollout) if !rollout.is_complete() => NextReconcile::After(ROLLOUT_POLL_INTERVAL),
            _ => NextReconcile::Resync,
        }
    }
}
