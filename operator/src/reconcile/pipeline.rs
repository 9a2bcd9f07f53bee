//! One reconcile: validate, read the secrets, build, apply, and update the status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::controller::Action;
use serde::Serialize;
use tokio::time::timeout;

use super::apply::{self, Desired, Ownership};
use super::deployment::DesiredWorkload;
use super::error::{Error, ErrorClass};
use super::migration::{self, DesiredMigration, Migration};
use super::reconciliation::Reconciliation;
use super::rollout::{Permitted, Rollout, Template, plan};
use super::secrets::Secrets;
use super::{Context, deployment, retry, secrets};
use crate::backoff::jitter;
use crate::build::{self, Resources, Target, Workload};
use crate::cluster::Kind;
use crate::crd::{MigrationStatus, OrderService};

/// Interval of reconciles during a rollout, because pods are not watched.
const ROLLOUT_POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Interval of reconciles during a migration, in case its pod cannot start.
const MIGRATION_POLL_INTERVAL: Duration = Duration::from_secs(30);

/// When to reconcile again if nothing changes.
pub(super) enum NextReconcile {
    Resync,
    After(Duration),
    /// Something that is not watched is missing.
    Backoff,
}

/// Timeout of a reconcile. The API server may stop responding on an open connection. The Lease and the watches do
/// not notice that, because they use other connections.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(60);

/// Timeout for the report of a failed reconcile.
const FAILURE_REPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Errors that usually resolve by themselves are reported when they last this long.
const REPORT_FAILURE_AFTER: Duration = Duration::from_secs(120);

/// Brings the cluster closer to the state that an OrderService describes.
///
/// # Errors
/// When the reconcile must be retried. [`error_policy`] decides when.
pub async fn reconcile(object: Arc<OrderService>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let result = timeout(RECONCILE_TIMEOUT, run(&object, &context))
        .await
        .unwrap_or(Err(Error::Timeout));
    if let Err(error) = &result {
        // A failure of the report does not replace the error.
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

/// Reports in the status an error that should have resolved by itself. Users and alerts check the status before
/// the log.
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
        log::debug!(error = error.message().as_str(); "the failure cannot be reported");
    }
    reconciliation.publish().await;
}

/// Logs an error and decides when to retry.
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
        // The garbage collector deletes the objects of the OrderService by their ownerReferences.
        Reconciliation::new(context, object).release_permit();
        return Ok(Action::await_change());
    }
    let mut reconciliation = Reconciliation::new(context, object);
    let result = match reconciliation.converge().await {
        Err(error) if error.is_namespace_terminating() => {
            // Nothing can be created, and nothing needs to be: the deletion of the OrderService follows.
            log::debug!(error = error.message().as_str(); "the namespace is being deleted");
            Reconciliation::new(context, object).release_permit();
            return Ok(Action::await_change());
        }
        Err(error) if error.class() != ErrorClass::Permanent => {
            reconciliation.publish().await;
            return Err(error);
        }
        result => result,
    };
    // A permanent error needs a user to act, so it is reported in the status.
    reconciliation.observation.refused = result.as_ref().err().map(Error::message);
    let written = reconciliation.write_status().await;
    reconciliation.release_permit();
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
                self.observation.invalid = Some(invalid);
                return Ok(NextReconcile::Resync);
            }
        };
        self.observation.paused = target.paused;
        self.target = Some(target.clone());
        let context = self.context;
        let mut secrets = secrets::read_secrets(context, &target).await?;
        let live = apply::read(context, Kind::Deployment, &target.namespace, &target.name).await?;
        let is_ours = match &live {
            Some(live) => apply::ownership(&target, Kind::Deployment, live)? == Ownership::Ours,
            None => true,
        };
        if is_ours {
            self.observation.rollout = live.as_ref().map(Rollout::from_deployment);
        } else {
            self.record_conflict(Kind::Deployment, &target.name);
        }
        if let Ok(secrets) = &mut secrets {
            self.keep_database_url(&target, secrets).await?;
        }
        let digests = secrets.as_ref().ok().map(|secrets| &secrets.digests);
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
        } = build::resources(&target, digests);
        if target.paused {
            if let Some(Workload { deployment, .. }) = &workload {
                self.observe_paused(deployment)?;
            }
            return Ok(NextReconcile::Resync);
        }
        if let Ok(Secrets { digests, url }) = &secrets
            && target.copies_url()
        {
            self.ensure_database_secret(&target, &digests.database, url.clone())
                .await?;
        }
        let supporting = [
            Some(Desired::new(Kind::ServiceAccount, &service_account)?),
            self.desired_or_delete(&target, Kind::NetworkPolicy, network_policy.as_ref())
                .await?,
            Some(Desired::new(Kind::ConfigMap, &config_map)?),
            Some(Desired::new(Kind::Service, &service)?),
            self.desired_or_delete(
                &target,
                Kind::PodDisruptionBudget,
                pod_disruption_budget.as_ref(),
            )
            .await?,
        ];
        // Deleted at once when it is disabled, whatever the state of migration and rollout.
        let maintenance = self
            .desired_or_delete(&target, Kind::CronJob, maintenance_cron_job.as_ref())
            .await?;
        for desired in supporting.iter().flatten() {
            let outcome = apply::ensure(context, &target, desired).await?;
            self.record(desired, &outcome);
        }
        self.ensure_pod_monitor(&target, pod_monitor.as_ref())
            .await?;
        let (
            Some(digests),
            Some(Workload {
                migration_revision,
                migration_job,
                migration_budget,
                deployment,
            }),
        ) = (digests, workload)
        else {
            self.observation.missing_secret = secrets.err();
            return Ok(NextReconcile::Backoff);
        };
        // Pods must not run with an identity or settings that belong to another owner.
        if self.is_blocked() {
            return Ok(NextReconcile::Backoff);
        }
        let previous = self.previous_status.migration.clone();
        let needed = MigrationStatus {
            revision: migration_revision.clone(),
            image: target.image.clone(),
        };
        let template = Template::of_deployment(&deployment)?;
        self.request_permit(&target, &template, &needed);
        let name = migration_job.metadata.name.as_deref().unwrap_or_default();
        let is_queued = self.observation.queued.is_some() && !self.observation.is_url_permitted;
        let starts_later = is_queued && !self.has_job(&target, name);
        let migration = match previous {
            // The migration belongs to the rollout that waits. One that has started or failed is observed.
            Some(previous) if starts_later => Migration::Done(previous),
            previous => {
                let desired = DesiredMigration {
                    revision: migration_revision,
                    job: &migration_job,
                    budget: migration_budget.as_ref(),
                };
                let migration =
                    migration::migrate(self, &target, desired, previous.as_ref()).await?;
                self.retry_migration(&target, migration).await?
            }
        };
        if let Migration::Foreign(job) = &migration {
            self.record_conflict(Kind::Job, job);
        }
        self.observation.migration = migration;
        if self.is_blocked() {
            return Ok(NextReconcile::Backoff);
        }
        self.permit_url_without_migration(&target, &template);
        let config_map = config_map.metadata.name.unwrap_or_default();
        let workload = DesiredWorkload {
            deployment,
            config_map: &config_map,
            autoscaler: horizontal_pod_autoscaler.as_ref(),
            maintenance,
            digests,
        };
        deployment::deploy(self, &target, workload, live).await?;
        Ok(self.next())
    }

    /// Whether the OrderService owns a Job of this name.
    fn has_job(&self, target: &Target, name: &str) -> bool {
        let (namespace, owner) = (&target.namespace, &target.owner.uid);
        let index = &self.context.records.index;
        let jobs = index.owned(Kind::Job, namespace, &target.name, owner);
        jobs.iter().any(|job| job.name == name)
    }

    /// Deletes a Job that failed, if a retry is requested. Its deletion starts a reconcile, which creates it again.
    async fn retry_migration(
        &self,
        target: &Target,
        migration: Migration,
    ) -> Result<Migration, Error> {
        let is_failed = matches!(migration, Migration::Failed(_));
        if !is_failed || retry::new_token(self.object, &self.previous_status).is_none() {
            return Ok(migration);
        }
        apply::delete_except(self.context, target, Kind::Job, &[]).await?;
        Ok(Migration::Running("the Job is created again".to_owned()))
    }

    /// Observes the Deployment of a paused object without writing.
    fn observe_paused(&mut self, deployment: &Deployment) -> Result<(), Error> {
        let template = Template::of_deployment(deployment)?;
        self.observation.desired = Some(template.revision().to_owned());
        let nothing = Rollout::default();
        let live = self.observation.rollout.as_ref().unwrap_or(&nothing);
        // A known failure stays in the status. A new failure is only detected after the pause.
        self.observation.plan = plan(
            &template,
            live,
            Permitted::Nothing,
            self.previous_status.failed_revision.as_ref(),
            None,
        )
        .filter(|plan| plan.failed == self.previous_status.failed_revision);
        Ok(())
    }

    /// Returns the object to apply, or deletes an object that is disabled.
    async fn desired_or_delete<T: Serialize>(
        &self,
        target: &Target,
        kind: Kind,
        object: Option<&T>,
    ) -> Result<Option<Desired>, Error> {
        match object {
            Some(object) => Ok(Some(Desired::new(kind, object)?)),
            None => {
                apply::delete_except(self.context, target, kind, &[]).await?;
                Ok(None)
            }
        }
    }

    /// Whether another owner has an object without which no pod may run.
    fn is_blocked(&self) -> bool {
        let blocking = [
            Kind::ServiceAccount,
            Kind::ConfigMap,
            Kind::Secret,
            Kind::Job,
            Kind::Deployment,
        ];
        let conflicts = &self.observation.conflicts;
        conflicts.iter().any(|(kind, _)| blocking.contains(kind))
    }

    fn next(&self) -> NextReconcile {
        if !self.observation.conflicts.is_empty() {
            // Objects of other owners are not watched.
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
        if self
            .observation
            .rollout
            .as_ref()
            .is_some_and(|rollout| !rollout.is_complete())
        {
            return NextReconcile::After(ROLLOUT_POLL_INTERVAL);
        }
        let failed = self.observation.plan.as_ref().map(|plan| &plan.failed);
        match failed.and_then(|failed| failed.as_ref()?.retry_at.as_ref()) {
            Some(at) => {
                let wait = at.0.duration_since(Timestamp::now());
                NextReconcile::After(Duration::try_from(wait).unwrap_or_default())
            }
            None => NextReconcile::Resync,
        }
    }
}
