//! The objects and the responses of the scripted API server.

use std::collections::BTreeMap;

use http::request::Parts;
use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock::Mock;

/// A connection to an API server whose responses `respond` returns: a status code and an object. With the
/// code 0 it keeps the connection open and does not respond.
pub fn serve(
    mut respond: impl FnMut(&Parts, Value) -> (u16, Value) + Send + 'static,
) -> Mock<Request<Body>, Response<Body>> {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        let mut unanswered = Vec::new();
        while let Some((request, send)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let body = serde_json::from_slice(&body.collect_bytes().await.unwrap());
            let (code, respond) = respond(&parts, body.unwrap_or_default());
            if code == 0 {
                unanswered.push(send);
                continue;
            }
            let respond = serde_json::to_vec(&respond).unwrap().into();
            send.send_response(Response::builder().status(code).body(respond).unwrap());
        }
    });
    service
}

/// A mutating admission policy: it gets the plural of the kind and the object of each write.
pub type Admission = Box<dyn FnMut(&str, &mut Value) + Send>;

/// The objects of the API server, and the requests that it received.
#[derive(Default)]
pub struct State {
    pub admission: Option<Admission>,
    /// The annotations of each object that the operator applied last.
    applied_annotations: BTreeMap<(String, String), Value>,
    /// By plural and name.
    pub objects: BTreeMap<(String, String), Value>,
    pub version: u64,
    pub calls: Vec<String>,
    /// Requests that fail: the start of the call, the status code, and how often.
    pub failures: Vec<(String, u16, usize)>,
    /// Details of the status of the next failure.
    pub details: Option<Value>,
    pub bodies: Vec<Value>,
}

impl State {
    pub fn store(&mut self, plural: &str, name: &str, mut object: Value) -> Value {
        self.version += 1;
        let key = (plural.to_owned(), name.to_owned());
        let before = self.objects.get(&key);
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        if metadata["uid"].is_null() {
            metadata["uid"] = before.map_or_else(
                || json!(format!("uid-{}", self.version)),
                |before| before["metadata"]["uid"].clone(),
            );
        }
        if plural == "deployments" {
            let generation =
                before.map_or(0, |old| old["metadata"]["generation"].as_i64().unwrap_or(0));
            let changed = before.is_none_or(|old| old["spec"] != object["spec"]);
            object["metadata"]["generation"] = json!(generation + i64::from(changed));
        }
        self.objects.insert(key, object.clone());
        object
    }

    pub fn respond(&mut self, request: &Parts, body: Value) -> (u16, Value) {
        let path: Vec<_> = request.uri.path().trim_matches('/').split('/').collect();
        let at = path
            .iter()
            .position(|part| *part == "namespaces")
            .expect("not namespaced")
            + 2;
        let plural = path[at].to_owned();
        let name = path
            .get(at + 1)
            .map(|name| (*name).to_owned())
            .unwrap_or_default();
        let sub = path.get(at + 2).copied().unwrap_or_default();
        let content = request
            .headers
            .get("content-type")
            .and_then(|value| value.to_str().ok());
        let verb = match (&request.method, content.unwrap_or_default()) {
            (&Method::GET, _) if name.is_empty() => "list",
            (&Method::GET, _) => "get",
            (&Method::POST, _) => "create",
            (&Method::DELETE, _) => "delete",
            (&Method::PATCH, "application/apply-patch+yaml") => "apply",
            (&Method::PATCH, "application/json-patch+json") => "release",
            (&Method::PATCH, "application/merge-patch+json") => "patch",
            other => panic!("unexpected {other:?}"),
        };
        let name = match body["metadata"]["name"].as_str() {
            Some(created) if verb == "create" => created.to_owned(),
            _ => name,
        };
        let short = without_hash(&name);
        let call = match (plural.as_str(), sub) {
            ("events", _) if verb != "list" => {
                format!("event {}", body["reason"].as_str().unwrap_or("again"))
            }
            (_, "status") => "status".to_owned(),
            ("pods", _) => "list pods".to_owned(),
            _ => format!("{verb} {plural} {short}"),
        };
        self.calls.push(call.clone());
        if let Some(failure) = self
            .failures
            .iter_mut()
            .find(|(start, _, times)| *times > 0 && call.starts_with(start.as_str()))
        {
            failure.2 -= 1;
            let (code, mut status) = failed(failure.1, "failed by the test");
            if let Some(details) = self.details.take() {
                status["details"] = details;
            }
            return (code, status);
        }
        if plural == "events" && verb != "list" {
            self.bodies.push(body.clone());
            return (201, body);
        }
        let key = (plural.clone(), name.clone());
        match verb {
            "list" => (
                200,
                self.list(&plural, request.uri.query().unwrap_or_default()),
            ),
            "get" => match self.objects.get(&key) {
                Some(object) => (200, object.clone()),
                None => missing(&name),
            },
            "create" => {
                if self.objects.contains_key(&key) {
                    return failed(409, "the object exists");
                }
                (201, self.store(&plural, &name, body))
            }
            "delete" => match self.objects.remove(&key) {
                Some(object) => (200, object),
                None => failed(404, "not found"),
            },
            _ if sub == "status" => {
                let mut object = self.objects[&key].clone();
                let [test, add] = body.as_array().unwrap().as_slice() else {
                    panic!("{body}")
                };
                assert_eq!(
                    (&test["op"], &test["path"]),
                    (&json!("test"), &json!("/metadata/uid"))
                );
                assert_eq!(test["value"], object["metadata"]["uid"]);
                assert_eq!(
                    (&add["op"], &add["path"]),
                    (&json!("add"), &json!("/status"))
                );
                object["status"] = add["value"].clone();
                (200, self.store(&plural, &name, object))
            }
            "release" => self.release(&key, &body),
            "patch" if plural == "jobs" => {
                let mut object = self.objects[&key].clone();
                if body["metadata"]["uid"] != object["metadata"]["uid"] {
                    return failed(409, "the UID differs");
                }
                let [(field, seconds)] = &Vec::from_iter(body["spec"].as_object().unwrap())[..]
                else {
                    panic!("{body}")
                };
                object["spec"][field.as_str()] = (*seconds).clone();
                (200, self.store(&plural, &name, object))
            }
            "patch" if plural != "secrets" => self.annotate(&key, &body),
            "patch" => {
                let mut object = self.objects[&key].clone();
                let version = &object["metadata"]["resourceVersion"];
                if body["metadata"]["resourceVersion"] != *version {
                    return failed(409, "the object has changed");
                }
                object["data"] = body["data"].clone();
                (200, self.store(&plural, &name, object))
            }
            "apply" => (
                200,
                self.apply(&key, body, request.uri.query().unwrap_or_default()),
            ),
            other => panic!("unexpected {other} {plural}"),
        }
    }

    /// A page of the objects of a kind. Of events, those about the object that the field selector names, and of Jobs
    /// those with the labels.
    fn list(&self, plural: &str, query: &str) -> Value {
        let parameter = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let number = |name: &str| parameter(name).and_then(|value| value.parse::<usize>().ok());
        let about = parameter("fieldSelector").map(|fields| {
            let uid = fields.strip_prefix("involvedObject.uid%3D").expect(fields);
            uid.strip_suffix("%2Ctype%3DWarning").expect(fields)
        });
        let labels = parameter("labelSelector").filter(|_| plural == "jobs");
        let labels = labels.unwrap_or_default().replace("%2F", "/");
        let labels: Vec<_> = labels
            .split("%2C")
            .filter_map(|pair| pair.split_once("%3D"))
            .collect();
        let is_meant = |object: &Value| {
            let found = &object["metadata"]["labels"];
            labels.iter().all(|(key, value)| found[*key] == **value)
                && about.is_none_or(|uid| object["involvedObject"]["uid"].as_str() == Some(uid))
        };
        let (skipped, limit) = (
            number("continue").unwrap_or(0),
            number("limit").unwrap_or(usize::MAX),
        );
        let mut items = self
            .objects
            .iter()
            .filter(|((of, _), object)| of == plural && is_meant(object))
            .map(|(_, object)| object)
            .skip(skipped);
        let page: Vec<_> = items.by_ref().take(limit).collect();
        let token = items.next().map(|_| (skipped + limit).to_string());
        json!({"apiVersion": "v1", "kind": "List", "metadata": {"continue": token}, "items": page})
    }

    /// The part of server-side apply that the tests need: fields of other managers stay, and a field without
    /// an owner gets its default.
    fn apply(&mut self, key: &(String, String), mut body: Value, query: &str) -> Value {
        assert!(query.contains("fieldManager=order-operator"), "{query}");
        let replicas = body["spec"]["replicas"].is_number();
        if let Some(before) = self.objects.get(key) {
            assert!(
                query.contains("force=true"),
                "a change is forced on owned fields"
            );
            assert_eq!(body["metadata"]["uid"], before["metadata"]["uid"]);
            body["status"] = before["status"].clone();
            if key.0 == "deployments" && !replicas {
                let owned = before["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
                    .get("f:replicas")
                    .is_some();
                let kept = before["spec"]["replicas"].clone();
                body["spec"]["replicas"] = if owned { json!(1) } else { kept };
            }
        } else {
            assert!(!query.contains("force=true"), "a creation is not forced");
        }
        let mut owned = fields_v1(&body);
        if !replicas && let Some(Value::Object(spec)) = owned.get_mut("f:spec") {
            spec.remove("f:replicas");
        }
        self.keep_annotations(key, &mut body);
        body["metadata"]["managedFields"] = json!([
            {"manager": "order-operator", "operation": "Apply", "fieldsV1": owned},
        ]);
        self.admit(&key.0, &mut body);
        self.store(&key.0, &key.1, body)
    }

    /// Annotations that the operator did not apply stay.
    fn keep_annotations(&mut self, key: &(String, String), body: &mut Value) {
        let applied = body["metadata"]["annotations"].clone();
        let earlier = self.applied_annotations.insert(key.clone(), applied);
        let before = self.objects.get(key);
        let before = before.and_then(|before| before["metadata"]["annotations"].as_object());
        for (name, text) in before.into_iter().flatten() {
            let is_own = earlier
                .as_ref()
                .is_some_and(|earlier| earlier.get(name).is_some());
            if !is_own && body["metadata"]["annotations"].get(name).is_none() {
                body["metadata"]["annotations"][name] = text.clone();
            }
        }
    }

    /// Runs admission. As in the API server, it comes after the owners of the fields are determined.
    fn admit(&mut self, plural: &str, object: &mut Value) {
        if let Some(admission) = &mut self.admission {
            admission(plural, object);
        }
    }

    /// A merge patch of annotations, with the UID as a precondition.
    fn annotate(&mut self, key: &(String, String), body: &Value) -> (u16, Value) {
        let mut object = self.objects[key].clone();
        if body["metadata"]["uid"] != object["metadata"]["uid"] {
            return failed(409, "the object was replaced");
        }
        for (name, text) in body["metadata"]["annotations"].as_object().unwrap() {
            let annotations = object["metadata"]["annotations"].as_object_mut().unwrap();
            if text.is_null() {
                annotations.remove(name);
            } else {
                annotations.insert(name.clone(), text.clone());
            }
        }
        self.admit(&key.0, &mut object);
        (200, self.store(&key.0, &key.1, object))
    }

    fn release(&mut self, key: &(String, String), patch: &Value) -> (u16, Value) {
        let mut object = self.objects[key].clone();
        assert_eq!(patch[0]["op"], "test");
        assert_eq!(patch[0]["value"], object["metadata"]["resourceVersion"]);
        for operation in &patch.as_array().unwrap()[1..] {
            let path = operation["path"].as_str().unwrap();
            let (parent, field) = path.rsplit_once('/').unwrap();
            let parent = object.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            parent.remove(field).expect("the field to release exists");
        }
        (200, self.store(&key.0, &key.1, object))
    }
}

/// The response for a missing object, which names it, unlike the one for a missing kind.
fn missing(name: &str) -> (u16, Value) {
    let (code, mut status) = failed(404, "not found");
    status["details"] = json!({"name": name});
    (code, status)
}

/// The fields of an object as in `metadata.managedFields`. A list is one field.
fn fields_v1(value: &Value) -> Value {
    let Value::Object(fields) = value else {
        return json!({});
    };
    let fields = fields.iter().filter(|(_, value)| !value.is_null());
    fields
        .map(|(name, value)| (format!("f:{name}"), fields_v1(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn failed(code: u16, message: &str) -> (u16, Value) {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "Test",
    };
    (
        code,
        json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code,
        "reason": reason, "message": message}),
    )
}

/// The name with its hash of ten digits replaced by `*`.
fn without_hash(name: &str) -> String {
    match name.rsplit_once('-') {
        Some((start, hash)) if hash.len() == 10 && hash.chars().all(|c| c.is_ascii_hexdigit()) => {
            format!("{start}-*")
        }
        _ => name.to_owned(),
    }
}
