//! The Lease. It is acquired when it is free or expired, renewed while held, and released at the end.
//!
//! A holder has expired when this process has not seen the Lease change for long enough, measured on its own
//! clock. The times in the Lease are never used, because the clocks of machines differ.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::time::{sleep, timeout};

use super::{Fence, Moment};

/// The times of the election.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A holder that does not renew the Lease for this long loses it.
    pub lease: Duration,
}

impl Timing {
    /// For how long after a renewal the holder may write. This is less than the time that other candidates wait.
    fn validity(self) -> Duration {
        self.lease * 2 / 3
    }

    fn retry(self) -> Duration {
        self.lease / 7
    }
}

/// A candidate for the Lease.
pub struct Election {
    leases: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
    fence: Fence,
    /// The Lease as it was last read, and when this version was first read.
    seen: Option<(Lease, Instant)>,
    last_response: Instant,
}

impl Election {
    /// Creates a candidate for the Lease of this name. `identity` must be unique to this process.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        timing: Timing,
        fence: Fence,
    ) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            timing,
            fence,
            seen: None,
            last_response: Instant::now(),
        }
    }

    /// Returns how long ago the API server last responded.
    pub fn api_silence(&self) -> Duration {
        self.last_response.elapsed()
    }

    /// Tries once to acquire or renew the Lease. Returns whether this process is the leader.
    pub async fn try_once(&mut self) -> bool {
        let requested_at = Moment::now();
        match timeout(self.timing.validity() / 2, self.acquire_or_renew()).await {
            Ok(Ok(true)) => {
                self.last_response = Instant::now();
                self.fence.allow(requested_at, self.timing.validity());
            }
            Ok(Ok(false)) => {
                self.last_response = Instant::now();
                self.fence.revoke();
            }
            // Without a renewal, the fence closes when its time is up.
            Ok(Err(error)) => log::warn!(error:% = error; "the lease cannot be renewed"),
            Err(_) => log::warn!("the lease cannot be renewed: no response"),
        }
        self.fence.allows_writes()
    }

    /// Waits until this process is the leader.
    pub async fn acquire(&mut self, mut on_try: impl FnMut(Duration)) {
        while !self.try_once().await {
            on_try(self.api_silence());
            sleep(self.timing.retry()).await;
        }
        on_try(Duration::ZERO);
    }

    /// Renews the Lease until leadership is lost.
    pub async fn renew(&mut self) {
        loop {
            sleep(self.timing.retry()).await;
            // A process that was stopped resumes here, so the fence is checked before the renewal.
            if !self.fence.allows_writes() || !self.try_once().await {
                self.fence.revoke();
                return;
            }
        }
    }

    /// Releases the Lease, so that other candidates need not wait until it expires.
    pub async fn release(&mut self) {
        if !self.fence.allows_writes() {
            return;
        }
        self.fence.revoke();
        match timeout(self.timing.validity() / 2, self.clear_holder()).await {
            Ok(Ok(true)) => log::info!("the lease is released"),
            Ok(Ok(false)) => log::info!("another process already holds the lease"),
            Ok(Err(error)) => log::warn!(error:% = error; "the lease cannot be released"),
            Err(_) => log::warn!("the lease cannot be released: no response"),
        }
    }

    async fn clear_holder(&mut self) -> Result<bool, kube::Error> {
        let Some((lease, _)) = self.seen.take() else {
            return Ok(false);
        };
        match self.write_released(lease).await {
            // A renewal whose response was not awaited may have succeeded.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => return other.map(|()| true),
        }
        let lease = self.leases.get_opt(&self.name).await?;
        match lease.filter(|lease| self.is_mine(lease.spec.as_ref())) {
            Some(lease) => self.write_released(lease).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Writes a Lease without a holder. It contains the `resourceVersion` that was read, so that a Lease that has
    /// changed is not overwritten.
    async fn write_released(&self, mut lease: Lease) -> Result<(), kube::Error> {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        let params = PostParams::default();
        let replaced = self.leases.replace(&self.name, &params, &lease).await;
        replaced.map(|_| ())
    }

    fn is_mine(&self, spec: Option<&LeaseSpec>) -> bool {
        spec.and_then(|spec| spec.holder_identity.as_deref()) == Some(self.identity.as_str())
    }

    async fn acquire_or_renew(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.leases.get_opt(&self.name).await? else {
            return self.create().await;
        };
        self.observe(&lease);
        let spec = lease.spec.clone().unwrap_or_default();
        let mine = self.is_mine(Some(&spec));
        if !mine && !self.is_free(&spec) {
            return Ok(false);
        }
        let renewed = Lease {
            spec: Some(self.claim(&spec, mine)),
            ..lease
        };
        // The Lease contains the `resourceVersion` that was read, so one of two simultaneous writes is rejected.
        match self
            .leases
            .replace(&self.name, &PostParams::default(), &renewed)
            .await
        {
            Ok(lease) => {
                self.seen = Some((lease, Instant::now()));
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn create(&mut self) -> Result<bool, kube::Error> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(self.claim(&LeaseSpec::default(), false)),
        };
        match self.leases.create(&PostParams::default(), &lease).await {
            Ok(lease) => {
                self.seen = Some((lease, Instant::now()));
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Records when this version of the Lease was first read.
    fn observe(&mut self, lease: &Lease) {
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        let changed = self
            .seen
            .as_ref()
            .is_none_or(|(seen, _)| version(seen) != version(lease));
        if changed {
            self.seen = Some((lease.clone(), Instant::now()));
        }
    }

    fn is_free(&self, spec: &LeaseSpec) -> bool {
        if spec.holder_identity.as_deref().is_none_or(str::is_empty) {
            return true;
        }
        let seconds = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        let lease = seconds.map_or(self.timing.lease, Duration::from_secs);
        self.seen
            .as_ref()
            .is_some_and(|(_, since)| since.elapsed() >= lease)
    }

    fn claim(&self, before: &LeaseSpec, mine: bool) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let transitions = before.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.timing.lease.as_secs()).ok(),
            acquire_time: if mine {
                before.acquire_time.clone()
            } else {
                Some(now.clone())
            },
            renew_time: Some(now),
            lease_transitions: Some(if mine {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..LeaseSpec::default()
        }
    }
}
