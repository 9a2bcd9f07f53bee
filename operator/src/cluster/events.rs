//! Publishes events. A repeated event increments a count instead of being published again.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event as KubeEvent, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource as _};
use parking_lot::Mutex;
use serde_json::json;

use crate::build::labels::MANAGER;
use crate::crd::OrderService;

/// The time within which client-go treats repetitions as one series.
const SERIES_TIMEOUT: SignedDuration = SignedDuration::from_mins(6);
/// The maximum length of a note. The API server rejects longer notes.
const MAX_NOTE_BYTES: usize = 1024;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether the event needs attention.
    pub warning: bool,
    /// Why the action was taken, in one word.
    pub reason: &'static str,
    /// The action that was taken or that failed.
    pub action: &'static str,
    /// A description for users. Events with the same reason and note are repetitions of one event.
    pub note: String,
    /// What is added to the note but differs in each repetition, such as a time.
    pub detail: Option<String>,
}

/// Publishes events to the API server.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    instance: String,
    /// Recent events, by the hash of object, reason and note.
    series: Arc<Mutex<HashMap<u64, Series>>>,
}

struct Series {
    /// When the event was first published. This is part of the name of the event.
    since: Timestamp,
    count: i32,
    at: Timestamp,
}

impl Recorder {
    /// Creates a recorder that reports as this instance.
    pub fn new(client: Client, instance: String) -> Self {
        Self {
            client,
            instance,
            series: Arc::default(),
        }
    }

    /// Publishes an event, or increments the count of the same event within six minutes.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond.
    pub async fn publish(&self, object: &OrderService, event: &Event) -> Result<(), kube::Error> {
        let now = Timestamp::now();
        let mut hasher = DefaultHasher::new();
        (&object.metadata.uid, event.reason, &event.note).hash(&mut hasher);
        let key = hasher.finish();
        let before = {
            let mut series = self.series.lock();
            series.retain(|_, series| now.duration_since(series.at) < SERIES_TIMEOUT);
            series.get_mut(&key).map(|series| {
                series.count += 1;
                series.at = now;
                (series.since, series.count)
            })
        };
        let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
        let events = Api::<KubeEvent>::namespaced(self.client.clone(), namespace);
        let name = |since: Timestamp| {
            let name = object.metadata.name.as_deref().unwrap_or(MANAGER);
            format!("{name}.{:x}", since.as_nanosecond())
        };
        if let Some((since, count)) = before {
            let series = EventSeries {
                count,
                last_observed_time: MicroTime(now),
            };
            let patch = Patch::Merge(json!({"series": series}));
            events
                .patch(&name(since), &PatchParams::default(), &patch)
                .await?;
            return Ok(());
        }
        let event = self.build(object.object_ref(&()), event, &name(now), now);
        events.create(&PostParams::default(), &event).await?;
        let series = Series {
            since: now,
            count: 1,
            at: now,
        };
        self.series.lock().insert(key, series);
        Ok(())
    }

    fn build(
        &self,
        regarding: ObjectReference,
        event: &Event,
        name: &str,
        now: Timestamp,
    ) -> KubeEvent {
        let detail = event.detail.iter().map(|detail| format!("; {detail}"));
        let detail: String = detail.collect();
        let mut note = event.note.clone();
        note.truncate(note.floor_char_boundary(MAX_NOTE_BYTES.saturating_sub(detail.len())));
        note.push_str(&detail);
        KubeEvent {
            metadata: ObjectMeta {
                namespace: regarding.namespace.clone(),
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(event.reason.to_owned()),
            action: Some(event.action.to_owned()),
            note: Some(note),
            regarding: Some(regarding),
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..KubeEvent::default()
        }
    }
}
