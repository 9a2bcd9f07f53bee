//! One reconcile: dereference, validate, build, apply, update the status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::runtime::controller::Action;
use tokio::time::timeout;

use super::apply::{self, Belongs, Desired, Outcome};
use super::dereference::{self, Secrets};
use super::error::{Class, During as _, Error};
use super::migration::{self, Migration};
use super::rollout::{Rollout, Template, plan};
use super::status::{self, Seen};
use super::{Context, deploy, events};
use crate::build::{self, Target};
use crate::cluster::{Event, Kind};
use crate::crd::{OrderService, OrderServiceStatus};

/// A rollout is looked at this often: its pods are not watched.
const ROLLOUT: Duration = Duration::from_secs(10);
/// A migration is looked at this often, in case its pod cannot start.
const MIGRATION: Duration = Duration::from_secs(30);

/// When to look again, if nothing happens.
pub(super) enum Next {
    Resync,
    Soon(Duration),
    /// Something is missing that nobody watches.
    Backoff,
}

/// How long a reconcile may take. The API server may stop answering while the connection stands, and
/// nobody else would notice: the Lease and the watches have connections of their own.
const PATIENCE: Duration = Duration::from_secs(60);

/// One reconcile at work.
pub(super) struct Work<'a> {
    pub(super) context: &'a Context,
    pub(super) object: &'a OrderService,
    pub(super) before: OrderServiceStatus,
    pub(super) target: Option<Target>,
    pub(super) seen: Seen,
    pub(super) events: Vec<Event>,
}

/// Brings the cluster closer to what an OrderService asks for.
///
/// # Errors
/// When it has to be tried again; `error_policy` says when.
pub async fn reconcile(object: Arc<OrderService>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let result = timeout(PATIENCE, run(&object, &context))
        .await
        .unwrap_or(Err(Error::Late));
    context
        .metrics
        .duration
        .observe(started.elapsed().as_secs_f64());
    let outcome = match &result {
        Ok(_) => "success",
        Err(error) => error.class().as_str(),
    };
    context
        .metrics
        .reconciles
        .with_label_values(&[outcome])
        .inc();
    result
}

/// When to try again after an error.
pub fn error_policy(object: &OrderService, error: &Error, context: &Context) -> Action {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let class = error.class();
    let wait = context.backoff.failed(uid, class);
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let level = match class {
        Class::Conflict | Class::Fenced => log::Level::Debug,
        Class::Transient | Class::Permanent => log::Level::Warn,
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
    let mut work = Work {
        context,
        object,
        before: context.statuses.latest(object),
        target: None,
        seen: Seen::default(),
        events: Vec::new(),
    };
    let result = work.do_it().await;
    if let Err(error) = &result {
        if error.class() != Class::Permanent {
            work.publish().await;
            return Err(result
                .err()
                .unwrap_or_else(|| Error::BeingDeleted(String::new())));
        }
        // Somebody has to do something, so somebody has to know.
        work.seen.refused = Some(error.message());
    }
    let written = work.write_status().await;
    work.publish().await;
    let next = result?;
    written?;
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    Ok(Action::requeue(match next {
        Next::Backoff => context.backoff.failed(uid, Class::Permanent),
        Next::Resync => {
            context.backoff.forget(uid);
            context.backoff.spread(context.resync, 10)
        }
        Next::Soon(wait) => {
            context.backoff.forget(uid);
            wait.min(context.resync)
        }
    }))
}

impl Work<'_> {
    async fn do_it(&mut self) -> Result<Next, Error> {
        let target = match Target::new(self.object) {
            Ok(target) => target,
            Err(invalid) => {
                self.seen.invalid = Some(invalid.to_string());
                return Ok(Next::Resync);
            }
        };
        self.seen.paused = target.paused;
        self.target = Some(target.clone());
        let context = self.context;
        let secrets = dereference::secrets(context, &target).await?;
        let live = apply::read(context, Kind::Deployment, &target.namespace, &target.name).await?;
        let ours = match &live {
            Some(live) => apply::belongs(&target, Kind::Deployment, live)? == Belongs::Us,
            None => true,
        };
        if ours {
            self.seen.rollout = live.as_ref().map(Rollout::of);
        } else {
            self.conflict(Kind::Deployment, &target.name);
        }
        if target.paused {
            self.look_only(&target, secrets.ok());
            return Ok(Next::Resync);
        }
        let config_map = self.apply_surroundings(&target).await?;
        let secrets = match secrets {
            Ok(secrets) => secrets,
            Err(missing) => {
                self.seen.secret = Some(missing);
                return Ok(Next::Backoff);
            }
        };
        // Nothing may run with the identity or the settings of somebody else.
        if self.is_blocked() {
            return Ok(Next::Backoff);
        }
        let before = self.before.migration.clone();
        let migrated =
            migration::migrate(context, &target, &secrets.migrations, before.as_ref()).await?;
        if let Migration::Foreign(job) = &migrated {
            self.conflict(Kind::Job, job);
        }
        self.seen.migration = migrated;
        if self.is_blocked() {
            return Ok(Next::Backoff);
        }
        let template = build::pod_template(&target, &config_map, &secrets.database);
        deploy::deploy(self, &target, template, live).await?;
        Ok(self.next())
    }

    /// What is there, told without touching it.
    fn look_only(&mut self, target: &Target, secrets: Option<Secrets>) {
        let Some(secrets) = secrets else {
            return;
        };
        let config_map = build::config_map(target).metadata.name.unwrap_or_default();
        let template = build::pod_template(target, &config_map, &secrets.database);
        let Ok(template) = serde_json::to_value(template).map(Template) else {
            return;
        };
        self.seen.desired = Some(template.revision().to_owned());
        let nothing = Rollout::default();
        let live = self.seen.rollout.as_ref().unwrap_or(&nothing);
        // What failed before stays told; what fails now is decided when the pause is over.
        self.seen.plan = plan(
            &template,
            live,
            false,
            self.before.failed_revision.as_ref(),
            None,
        )
        .filter(|plan| plan.failed == self.before.failed_revision);
    }

    /// Everything that pods need around them. Returns the name of their settings.
    async fn apply_surroundings(&mut self, target: &Target) -> Result<String, Error> {
        let config_map = Desired::new(Kind::ConfigMap, &build::config_map(target))?;
        let settings = config_map.name.clone();
        let mut all = vec![
            Desired::new(Kind::ServiceAccount, &build::service_account(target))?,
            config_map,
            Desired::new(Kind::Service, &build::service(target))?,
        ];
        match build::network_policy(target) {
            Some(policy) => all.insert(1, Desired::new(Kind::NetworkPolicy, &policy)?),
            None => apply::delete_all_but(self.context, target, Kind::NetworkPolicy, &[]).await?,
        }
        match build::pod_disruption_budget(target) {
            Some(budget) => all.push(Desired::new(Kind::PodDisruptionBudget, &budget)?),
            None => {
                apply::delete_all_but(self.context, target, Kind::PodDisruptionBudget, &[]).await?
            }
        }
        for desired in &all {
            let outcome = apply::ensure(self.context, target, desired).await?;
            self.note(desired, &outcome);
        }
        Ok(settings)
    }

    /// Notes what a person would want to know of it.
    pub(super) fn note(&mut self, desired: &Desired, outcome: &Outcome) {
        match outcome {
            Outcome::Foreign => self.conflict(desired.kind, &desired.name),
            Outcome::Corrected(_, drift) => {
                self.context
                    .metrics
                    .drift
                    .with_label_values(&[desired.kind.as_str()])
                    .inc();
                self.events
                    .push(events::corrected(desired.kind, &desired.name, drift));
            }
            Outcome::Known | Outcome::InSync(_) | Outcome::Applied(_) => {}
        }
    }

    fn conflict(&mut self, kind: Kind, name: &str) {
        let conflict = format!("{} {name}", kind.as_str());
        if !self.seen.conflicts.contains(&conflict) {
            self.seen.conflicts.push(conflict);
        }
    }

    /// Whether a name is taken without which no pod can be run.
    fn is_blocked(&self) -> bool {
        let blocking = [
            Kind::ServiceAccount,
            Kind::ConfigMap,
            Kind::Job,
            Kind::Deployment,
        ];
        self.seen.conflicts.iter().any(|conflict| {
            let is_of = |kind: &Kind| conflict.starts_with(&format!("{} ", kind.as_str()));
            blocking.iter().any(is_of)
        })
    }

    fn next(&self) -> Next {
        if !self.seen.conflicts.is_empty() {
            // Nobody tells when the name becomes free.
            return Next::Backoff;
        }
        match &self.seen.migration {
            Migration::Running(_) | Migration::Retrying(_) => {
                return Next::Soon(MIGRATION);
            }
            Migration::Unknown
            | Migration::Done(_)
            | Migration::Failed(_)
            | Migration::Foreign(_) => {}
        }
        match &self.seen.rollout {
            Some(rollout) if !rollout.is_complete() => Next::Soon(ROLLOUT),
            _ => Next::Resync,
        }
    }

    /// Writes the status, if it has changed.
    pub(super) async fn write_status(&mut self) -> Result<(), Error> {
        let after = status::compute(
            &self.before,
            &self.seen,
            self.target.as_ref(),
            self.object.metadata.generation,
            Timestamp::now(),
        );
        if after == self.before {
            return Ok(());
        }
        let written = self.context.cluster.patch_status(self.object, &after).await;
        let written = match written {
            // It was deleted meanwhile: nobody is left to be told.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            other => other.during(|| "write the status".to_owned())?,
        };
        self.context.statuses.wrote(&written);
        self.events.extend(events::between(&self.before, &after));
        self.before = after;
        Ok(())
    }

    /// Tells what happened. That it could not be told is no reason to do it again.
    async fn publish(&mut self) {
        for event in std::mem::take(&mut self.events) {
            if let Err(error) = self.context.recorder.publish(self.object, &event).await {
                log::warn!(error:% = error, reason = event.reason; "an event cannot be written");
            }
        }
    }
}
