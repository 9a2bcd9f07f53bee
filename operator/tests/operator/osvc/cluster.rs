//! The scripted API server of these tests.

use std::ffi::OsString;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::request::Parts;
use kube::client::ClientBuilder;
use order_operator::cli::osvc::OsvcCli;
use order_operator::osvc::{OsvcError, Session, execute};
use serde_json::{Value, json};

use crate::api_server::serve;

/// An API server with objects of one namespace.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: Vec<Value>,
    calls: Vec<String>,
    paths: Vec<String>,
    failure: Option<(String, u16, String)>,
    page_size: Option<usize>,
    not_installed: bool,
    on_patch: Option<fn(&mut Value)>,
}

/// What a command printed and requested.
#[derive(Debug)]
pub struct Run {
    pub out: String,
    pub notes: String,
    /// Verb, plural and name of each request.
    pub calls: Vec<String>,
    /// Path and query of each request.
    pub paths: Vec<String>,
}

impl Fake {
    pub fn add(&self, object: Value) {
        self.0.lock().unwrap().objects.push(object);
    }

    pub fn remove(&self, name: &str) {
        let objects = &mut self.0.lock().unwrap().objects;
        let before = objects.len();
        objects.retain(|object| object["metadata"]["name"] != name);
        assert!(objects.len() < before, "there is no {name}");
    }

    pub fn change(&self, name: &str, how: impl FnOnce(&mut Value)) {
        let mut state = self.0.lock().unwrap();
        how(state
            .objects
            .iter_mut()
            .find(|object| object["metadata"]["name"] == name)
            .unwrap());
    }

    pub fn fail(&self, call: &str, code: u16, message: &str) {
        self.0.lock().unwrap().failure = Some((call.to_owned(), code, message.to_owned()));
    }

    pub fn page_size(&self, size: usize) {
        self.0.lock().unwrap().page_size = Some(size);
    }

    pub fn not_installed(&self) {
        self.0.lock().unwrap().not_installed = true;
    }

    /// Changes the OrderService when the next patch arrives, before it is applied.
    pub fn on_patch(&self, how: fn(&mut Value)) {
        self.0.lock().unwrap().on_patch = Some(how);
    }

    pub fn service(&self) -> Value {
        let state = self.0.lock().unwrap();
        state
            .objects
            .iter()
            .find(|object| object["kind"] == "OrderService")
            .unwrap()
            .clone()
    }

    /// Runs a command of the plugin in the namespace `shop`.
    pub async fn run(&self, words: &str) -> Result<Run, OsvcError> {
        let words: Vec<OsString> = format!("kubectl-osvc {words}")
            .split(' ')
            .map(OsString::from)
            .collect();
        let cli = OsvcCli::read_from(&words).unwrap().unwrap();
        let state = self.0.clone();
        let service = serve(move |request, body| state.lock().unwrap().respond(request, &body));
        let client = ClientBuilder::new(service, "shop").build();
        let timeout = Duration::from_millis(100);
        let session = Session::new(
            client,
            "https://cluster".to_owned(),
            "shop".to_owned(),
            timeout,
        );
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let result = execute(&session, &cli.command, &mut out, &mut notes).await;
        let mut state = self.0.lock().unwrap();
        let (calls, paths) = (
            std::mem::take(&mut state.calls),
            std::mem::take(&mut state.paths),
        );
        result.map(|()| Run {
            out: String::from_utf8(out).unwrap(),
            notes: String::from_utf8(notes).unwrap(),
            calls,
            paths,
        })
    }
}

/// A `Status`, as the API server sends it. A missing path has no details.
fn failure(code: u16, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "status": "Failure", "code": code, "message": message,
        "reason": "x", "details": {"name": "nothing"}});
    (code, status)
}

impl State {
    fn respond(&mut self, request: &Parts, body: &Value) -> (u16, Value) {
        let uri = request.uri.path_and_query().unwrap().as_str();
        self.paths.push(uri.to_owned());
        let path: Vec<_> = request.uri.path().trim_matches('/').split('/').collect();
        // Without a namespace: `apis/GROUP/VERSION/PLURAL` or `api/v1/PLURAL`.
        let at = match path.iter().position(|part| *part == "namespaces") {
            Some(namespaces) => namespaces + 2,
            None => path.len() - 1,
        };
        let (plural, name) = (path[at], path.get(at + 1).copied().unwrap_or_default());
        let verb = match (request.method.as_str(), name, path.get(at + 2)) {
            ("GET", "", _) => "list",
            ("GET", _, Some(_)) => "log",
            ("GET", ..) => "get",
            ("PATCH", ..) => "patch",
            other => panic!("unexpected {other:?}"),
        };
        let call = format!("{verb} {plural} {name}").trim_end().to_owned();
        self.calls.push(call.clone());
        if self.not_installed && plural == "orderservices" {
            return (404, json!("404 page not found"));
        }
        if let Some((start, code, message)) = &self.failure
            && call.starts_with(start.as_str())
        {
            return failure(*code, message);
        }
        let query = request
            .uri
            .query()
            .unwrap_or_default()
            .replace("%2F", "/")
            .replace("%3D", "=")
            .replace("%2C", ",");
        match verb {
            "list" => (200, self.list(plural, &query)),
            "log" => (200, json!(format!("log of {name}"))),
            _ => {
                let Some(index) = self
                    .objects
                    .iter()
                    .position(|it| it["metadata"]["name"] == name)
                else {
                    return failure(404, &format!("{plural} \"{name}\" not found"));
                };
                if verb == "get" {
                    return (200, self.objects[index].clone());
                }
                assert!(query.contains("fieldManager=kubectl-osvc"), "{query}");
                if let Some(change) = self.on_patch.take() {
                    change(&mut self.objects[index]);
                }
                let content = request.headers["content-type"].to_str().unwrap();
                patch(&mut self.objects[index], content, body)
            }
        }
    }

    fn list(&self, plural: &str, query: &str) -> Value {
        let option = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(&format!("{name}=")))
        };
        let labels = option("labelSelector").unwrap_or_default();
        let fields = option("fieldSelector").unwrap_or_default();
        let matching = self.objects.iter().filter(|object| {
            let kind = object["kind"].as_str().unwrap().to_lowercase();
            let has = |pair: &str| {
                let (key, value) = pair.split_once('=').unwrap();
                object["metadata"]["labels"][key] == value
            };
            format!("{kind}s") == plural
                && labels.split(',').filter(|pair| !pair.is_empty()).all(has)
                && (fields.is_empty()
                    || fields.contains(object["involvedObject"]["uid"].as_str().unwrap_or("-")))
        });
        let matching: Vec<_> = matching.cloned().collect();
        let start: usize = option("continue").map_or(0, |token| token.parse().unwrap());
        let end = (start + self.page_size.unwrap_or(1000)).min(matching.len());
        let next = if end < matching.len() {
            json!(end.to_string())
        } else {
            Value::Null
        };
        json!({"apiVersion": "v1", "kind": "List", "metadata": {"continue": next}, "items": matching[start..end]})
    }
}

/// The part of JSON Patch and of JSON Merge Patch that the plugin uses.
fn patch(object: &mut Value, content: &str, body: &Value) -> (u16, Value) {
    match content {
        "application/json-patch+json" => {
            for operation in body.as_array().unwrap() {
                let path = operation["path"].as_str().unwrap();
                let field = object.pointer_mut(path).unwrap();
                match operation["op"].as_str().unwrap() {
                    "test" if *field != operation["value"] => {
                        return failure(
                            422,
                            "the server rejected our request due to an error in our request",
                        );
                    }
                    "test" => {}
                    "replace" => *field = operation["value"].clone(),
                    other => panic!("{other}"),
                }
            }
        }
        "application/merge-patch+json" => merge(object, body),
        other => panic!("{other}"),
    }
    (200, object.clone())
}

/// A JSON Merge Patch that removes nothing.
pub fn merge(object: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            for (name, value) in fields {
                merge(&mut object[name], value);
            }
        }
        value => *object = value.clone(),
    }
}
