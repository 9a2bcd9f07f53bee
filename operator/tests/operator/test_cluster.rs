//! A scripted API server. It stores objects, so that responses follow from earlier writes, and it records
//! every request: a test lists the requests of each reconcile in order, and fails on a missing request and on
//! an additional one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::runtime::controller::Action;
use order_operator::cluster::fence_layer::FenceLayer;
use order_operator::cluster::watch_activity::WatchActivity;
use order_operator::cluster::{Cluster, Kind, Recorder};
use order_operator::crd::{Condition, OrderService};
use order_operator::leader::{Fence, Moment};
use order_operator::metrics::Metrics;
use order_operator::reconcile::digest_key::DigestKey;
use order_operator::reconcile::error::Error;
use order_operator::reconcile::{Context, error_policy, reconcile};
use serde_json::{Value, json};

use crate::api_server::{State, serve};

/// A cluster with one OrderService, and the context of an operator.
pub struct TestCluster {
    state: Arc<Mutex<State>>,
    pub context: Arc<Context>,
    pub fence: Fence,
}

const NAMESPACE: &str = "shop";
const NAME: &str = "orders";

impl TestCluster {
    /// A cluster with an OrderService of this spec, and its secret.
    pub fn new(spec: Value) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let served = state.clone();
        let service = serve(move |request, body| served.lock().unwrap().respond(request, body));
        let fence = Fence::default();
        fence.allow(Moment::now(), Duration::from_secs(600));
        let metrics = Arc::new(Metrics::new().unwrap());
        let guard = FenceLayer {
            fence: fence.clone(),
            watches: WatchActivity::default(),
            metrics: metrics.clone(),
        };
        let client = ClientBuilder::new(service, NAMESPACE)
            .with_layer(&guard)
            .build();
        let recorder = Recorder::new(client.clone(), "test".to_owned());
        let cluster = Cluster::new(client);
        let context = Arc::new(Context::new(
            cluster,
            recorder,
            metrics,
            DigestKey::in_namespace("order-operator-system"),
            Duration::from_secs(300),
        ));
        let cluster = Self {
            state,
            context,
            fence,
        };
        cluster.put("orderservices", NAME, json!({
            "apiVersion": "orders.example.com/v1alpha1", "kind": "OrderService",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "uid": "osvc-uid", "generation": 1},
            "spec": spec,
        }));
        cluster.secret("postgres://one");
        cluster.operator_key(Some(&[7; 32]));
        cluster
    }

    /// The usual spec.
    pub fn spec(image: &str) -> Value {
        json!({"image": image, "replicas": 2, "database": {"secretRef": {"name": "db"}}})
    }

    /// Creates or changes the secret.
    pub fn secret(&self, url: &str) {
        let data = k8s_openapi::ByteString(url.as_bytes().to_vec());
        let metadata = json!({"name": "db", "namespace": NAMESPACE});
        self.put(
            "secrets",
            "db",
            json!({"metadata": metadata, "data": {"database-url": data}}),
        );
    }

    /// Creates or changes the secret with the file of API keys.
    pub fn auth_secret(&self, file: &str) {
        self.secret_with("keys", &[("auth.toml", file)]);
    }

    /// Creates or changes a secret with this data.
    pub fn secret_with(&self, name: &str, data: &[(&str, &str)]) {
        let data: BTreeMap<_, _> = data
            .iter()
            .map(|(key, value)| (*key, k8s_openapi::ByteString(value.as_bytes().to_vec())))
            .collect();
        let metadata = json!({"name": name, "namespace": NAMESPACE});
        self.put("secrets", name, json!({"metadata": metadata, "data": data}));
    }

    /// Creates the Secret with the key of the operator; without data, as before its first start.
    pub fn operator_key(&self, key: Option<&[u8]>) {
        let data = key.map(|key| json!({"key": k8s_openapi::ByteString(key.to_vec())}));
        let metadata = json!({"name": "order-operator-key", "namespace": "order-operator-system"});
        let secret = json!({"metadata": metadata, "data": data});
        self.put("secrets", "order-operator-key", secret);
    }

    pub fn put(&self, plural: &str, name: &str, object: Value) {
        self.state.lock().unwrap().store(plural, name, object);
    }

    pub fn remove(&self, kind: Kind, name: &str) {
        let key = (kind.resource().plural, name.to_owned());
        self.state.lock().unwrap().objects.remove(&key).unwrap();
        self.context.records.index.remove(kind, NAMESPACE, name);
    }

    /// Deletes a pod, which the operator does not watch.
    pub fn remove_pod(&self, name: &str) {
        let key = ("pods".to_owned(), name.to_owned());
        self.state.lock().unwrap().objects.remove(&key).unwrap();
    }

    /// Sets an annotation of the OrderService.
    pub fn annotate(&self, key: &str, value: &str) {
        let mut object = self.get("orderservices", NAME).unwrap();
        object["metadata"]["annotations"][key] = json!(value);
        self.put("orderservices", NAME, object);
    }

    pub fn get(&self, plural: &str, name: &str) -> Option<Value> {
        let key = (plural.to_owned(), name.to_owned());
        self.state.lock().unwrap().objects.get(&key).cloned()
    }

    /// Names of the objects of a kind.
    pub fn names(&self, kind: Kind) -> Vec<String> {
        let plural = kind.resource().plural;
        let state = self.state.lock().unwrap();
        state
            .objects
            .keys()
            .filter(|(of, _)| *of == plural)
            .map(|(_, name)| name.clone())
            .collect()
    }

    /// Changes an object as another client would, and delivers the event of the watch.
    pub fn change(&self, kind: Kind, name: &str, how: impl FnOnce(&mut Value)) {
        let plural = kind.resource().plural;
        let mut object = self
            .get(&plural, name)
            .unwrap_or_else(|| panic!("no {plural} {name}"));
        let before = object.clone();
        how(&mut object);
        record_manager(&before, &mut object);
        self.put(&plural, name, object);
        let object = self.get(&plural, name).unwrap();
        let metadata = serde_json::from_value(object["metadata"].clone()).unwrap();
        self.context.records.index.observe(kind, &metadata);
    }

    /// Changes every object that is written from now on, as a mutating admission policy does.
    pub fn admit(&self, policy: impl FnMut(&str, &mut Value) + Send + 'static) {
        self.state.lock().unwrap().admission = Some(Box::new(policy));
    }

    /// The cluster with a new operator, which has read nothing yet.
    pub fn with_new_operator(self) -> Self {
        let restarted = Self::new(json!({}));
        *restarted.state.lock().unwrap() = std::mem::take(&mut *self.state.lock().unwrap());
        restarted
    }

    /// Changes the spec of the OrderService.
    pub fn edit_spec(&self, how: impl FnOnce(&mut Value)) {
        let mut object = self.get("orderservices", NAME).unwrap();
        how(&mut object["spec"]);
        let generation = object["metadata"]["generation"].as_i64().unwrap();
        object["metadata"]["generation"] = json!(generation + 1);
        self.put("orderservices", NAME, object);
    }

    pub fn deployment(&self) -> Value {
        self.get("deployments", NAME)
            .expect("there is no Deployment")
    }

    /// Simulates the controllers of Kubernetes: all pods of the current template are available.
    pub fn roll_out(&self) {
        self.change(Kind::Deployment, NAME, |deployment| {
            let replicas = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
            deployment["status"] = json!({
                "observedGeneration": deployment["metadata"]["generation"], "replicas": replicas,
                "updatedReplicas": replicas, "availableReplicas": replicas, "readyReplicas": replicas,
            });
        });
    }

    /// Simulates a rollout that exceeds its progress deadline.
    pub fn exceed_deadline(&self) {
        self.change(Kind::Deployment, NAME, |deployment| {
            deployment["status"] = json!({
                "observedGeneration": deployment["metadata"]["generation"], "replicas": 3,
                "updatedReplicas": 1, "availableReplicas": 2, "readyReplicas": 2,
                "conditions": [{"type": "Progressing", "status": "False",
                    "reason": "ProgressDeadlineExceeded", "message": "timed out progressing"}],
            });
        });
    }

    /// Simulates the Job controller.
    pub fn finish_job(&self, condition: &str) {
        // One that has ended stays for a day.
        let has_ended =
            |name: &String| !self.get("jobs", name).unwrap()["status"]["conditions"].is_null();
        let names = self.names(Kind::Job);
        let name = names.iter().find(|name| !has_ended(name));
        let name = name.or(names.last()).expect("there is no Job").clone();
        self.change(Kind::Job, &name, |job| {
            job["status"] = json!({"failed": i32::from(condition == "Failed"), "conditions": [
                {"type": condition, "status": "True", "message": "message of the Job"},
            ]});
        });
    }

    /// Fails the next requests that start like this; with the code 0 there is no response.
    pub fn fail(&self, call: &str, code: u16, times: usize) {
        self.state
            .lock()
            .unwrap()
            .failures
            .push((call.to_owned(), code, times));
    }

    /// Fails the next request that starts like this, with these details in the status.
    pub fn fail_with(&self, call: &str, code: u16, details: Value) {
        self.state.lock().unwrap().details = Some(details);
        self.fail(call, code, 1);
    }

    /// Ends all failures.
    pub fn stop_failing(&self) {
        self.state.lock().unwrap().failures.clear();
    }

    pub fn object(&self) -> OrderService {
        serde_json::from_value(self.get("orderservices", NAME).unwrap()).unwrap()
    }

    /// Reconciles once. Returns the result and the requests.
    pub async fn run(&self) -> (Result<Action, Error>, Vec<String>) {
        self.state.lock().unwrap().calls.clear();
        let object = Arc::new(self.object());
        // The future is too large for the stack of a test that awaits many of them.
        let result = Box::pin(reconcile(object.clone(), self.context.clone())).await;
        if let Err(error) = &result {
            error_policy(&object, error, &self.context);
        }
        (
            result,
            std::mem::take(&mut self.state.lock().unwrap().calls),
        )
    }

    /// Reconciles once, and expects exactly these requests.
    pub async fn expect(&self, expected: &[&str]) {
        let (result, calls) = self.run().await;
        assert_eq!(calls, expected, "{result:?}");
        result.unwrap();
    }

    /// Reconciles until nothing is written.
    pub async fn settle(&self) {
        for _ in 0..10 {
            let (result, calls) = self.run().await;
            result.unwrap();
            if calls.iter().all(|call| is_read(call)) {
                return;
            }
        }
        panic!("the reconciles do not settle");
    }

    /// A cluster in which everything is rolled out.
    pub async fn running(spec: Value) -> Self {
        Self::new(spec).rolled_out().await
    }

    /// The cluster once everything is rolled out.
    pub async fn rolled_out(self) -> Self {
        self.settle().await;
        self.finish_job("Complete");
        self.settle().await;
        self.roll_out();
        self.settle().await;
        self
    }

    pub fn condition(&self, type_: &str) -> Condition {
        let status = self.object().status.unwrap();
        let found = status
            .conditions
            .into_iter()
            .find(|condition| condition.type_ == type_);
        found.unwrap_or_else(|| panic!("no condition {type_}"))
    }

    /// Status and reason of a condition.
    pub fn status_and_reason(&self, type_: &str) -> String {
        let condition = self.condition(type_);
        format!("{} {}", condition.status.as_str(), condition.reason)
    }

    /// The notes of the events with this reason.
    pub fn event_notes(&self, reason: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let events = state
            .bodies
            .iter()
            .filter(|event| event["reason"] == reason);
        events
            .map(|event| event["note"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The body of the last event.
    pub fn last_event(&self) -> Value {
        self.state
            .lock()
            .unwrap()
            .bodies
            .last()
            .cloned()
            .expect("no event")
    }
}

/// Adds the field manager of a change to `managedFields`, unless the change contains it or is one of the status.
fn record_manager(before: &Value, after: &mut Value) {
    if before["metadata"]["managedFields"] != after["metadata"]["managedFields"] {
        return;
    }
    let mut fields = changed_fields(before, after);
    fields.as_object_mut().unwrap().remove("f:status");
    if fields == json!({}) {
        return;
    }
    if let Some(entries) = after["metadata"]["managedFields"].as_array_mut() {
        entries.push(json!({"manager": "somebody", "operation": "Update", "fieldsV1": fields}));
    }
}

/// The fields that a change sets, as in `metadata.managedFields`.
fn changed_fields(before: &Value, after: &Value) -> Value {
    let Value::Object(fields) = after else {
        return json!({});
    };
    let changed = fields
        .iter()
        .filter(|(name, value)| before[*name] != **value);
    changed
        .map(|(name, value)| (format!("f:{name}"), changed_fields(&before[name], value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

pub fn is_read(call: &str) -> bool {
    call.starts_with("get ") || call.starts_with("list ")
}

impl TestCluster {
    /// Changes a label of the secret, but not its data.
    pub fn change_secret_label(&self) {
        let mut secret = self.get("secrets", "db").unwrap();
        secret["metadata"]["labels"] = json!({"a": "b"});
        self.put("secrets", "db", secret);
    }
}
