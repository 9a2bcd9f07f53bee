//! The fields in which a live object differs from the desired one.
//!
//! The API server adds defaults, and other field managers add fields of their own. Therefore a live object
//! matches when it contains the desired one.

use std::fmt;

use serde_json::{Map, Value};

/// The path of a field.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Path(pub Vec<Step>);

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// A field of an object.
    Field(String),
    /// The item of a list with these merge keys.
    Item(Map<String, Value>),
}

impl Path {
    fn field(&self, name: &str) -> Self {
        self.then(Step::Field(name.to_owned()))
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    fn ends_with(&self, name: &str) -> bool {
        matches!(self.0.last(), Some(Step::Field(last)) if last == name)
    }

    /// Whether the path consists of exactly these fields.
    pub(super) fn is_fields(&self, names: &[&str]) -> bool {
        self.0.len() == names.len()
            && self
                .0
                .iter()
                .zip(names)
                .all(|(step, name)| matches!(step, Step::Field(field) if field == name))
    }

    /// Whether the field is in an annotation of this prefix.
    pub(super) fn is_annotation(&self, prefix: &str) -> bool {
        match self.0.as_slice() {
            [
                Step::Field(metadata),
                Step::Field(annotations),
                Step::Field(name),
            ] => metadata == "metadata" && annotations == "annotations" && name.starts_with(prefix),
            _ => false,
        }
    }

    fn mentions(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|step| matches!(step, Step::Field(field) if field == name))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if index == 0 => write!(out, "{name}")?,
                Step::Field(name) => write!(out, ".{name}")?,
                Step::Item(keys) => {
                    let keys: Vec<_> = keys
                        .iter()
                        .map(|(key, value)| match value {
                            Value::String(text) => format!("{key}={text}"),
                            other => format!("{key}={other}"),
                        })
                        .collect();
                    write!(out, "[{}]", keys.join(","))?;
                }
            }
        }
        Ok(())
    }
}

/// A field of a live object that differs from the desired one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    pub path: Path,
    /// The live value, or `None` if the field is missing.
    pub live: Option<Value>,
}

/// Returns the fields in which a live object differs from the desired one.
pub(crate) fn differences(desired: &Value, live: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(desired, live, &Path::default(), &mut found);
    found
}

fn compare(desired: &Value, live: &Value, path: &Path, found: &mut Vec<Difference>) {
    let changed = |path: &Path, live: &Value| Difference {
        path: path.clone(),
        live: Some(live.clone()),
    };
    match (desired, live) {
        // Atomic, because an additional key selects fewer pods.
        _ if is_atomic(path) => {
            if desired != live {
                found.push(changed(path, live));
            }
        }
        (Value::Object(desired), Value::Object(live)) => {
            for (name, value) in desired {
                let path = path.field(name);
                match live.get(name) {
                    Some(live) => compare(value, live, &path, found),
                    None => found.push(Difference { path, live: None }),
                }
            }
        }
        (Value::Array(desired), Value::Array(live)) => compare_lists(desired, live, path, found),
        _ if is_equal(desired, live, path) => {}
        _ => found.push(changed(path, live)),
    }
}

fn compare_lists(desired: &[Value], live: &[Value], path: &Path, found: &mut Vec<Difference>) {
    let keys = merge_keys(path);
    if keys.is_empty() {
        // Atomic, so an additional item is a difference as well.
        let mut inside = Vec::new();
        for (desired, live) in desired.iter().zip(live) {
            compare(desired, live, &Path::default(), &mut inside);
        }
        if desired.len() != live.len() || !inside.is_empty() {
            found.push(Difference {
                path: path.clone(),
                live: Some(Value::Array(live.to_vec())),
            });
        }
        return;
    }
    for item in desired {
        let wanted: Map<String, Value> = keys
            .iter()
            .filter_map(|&key| Some((key.to_owned(), item.get(key)?.clone())))
            .collect();
        let same_item = |live: &&Value| {
            wanted
                .iter()
                .all(|(key, value)| live.get(key) == Some(value))
        };
        let there = live.iter().find(same_item);
        let path = path.then(Step::Item(wanted.clone()));
        match there {
            Some(live) => compare(item, live, &path, found),
            None => found.push(Difference { path, live: None }),
        }
    }
}

/// Whether a field is compared as one value, because the API server adds no defaults to it.
fn is_atomic(path: &Path) -> bool {
    [
        "selector",
        "podSelector",
        "namespaceSelector",
        "labelSelector",
        "ingress",
        "egress",
    ]
    .into_iter()
    .any(|name| path.ends_with(name))
}

/// The merge keys of a list (`x-kubernetes-list-map-keys` in the API). Other lists are compared as one value.
fn merge_keys(path: &Path) -> &'static [&'static str] {
    let in_pod = path.mentions("containers") || path.mentions("initContainers");
    if path.ends_with("containers")
        || path.ends_with("initContainers")
        || path.ends_with("volumes")
        || (in_pod && path.ends_with("env"))
    {
        &["name"]
    } else if in_pod && path.ends_with("ports") {
        &["containerPort", "protocol"]
    } else if path.ends_with("ports") && path.0.len() == 2 {
        &["port", "protocol"]
    } else if path.ends_with("volumeMounts") {
        &["mountPath"]
    } else if path.ends_with("topologySpreadConstraints") {
        &["topologyKey", "whenUnsatisfiable"]
    } else if path.ends_with("ownerReferences") {
        &["uid"]
    } else {
        &[]
    }
}

fn is_equal(desired: &Value, live: &Value, path: &Path) -> bool {
    if desired == live {
        return true;
    }
    // The API server returns `1000m` as `1`.
    let amount = |value: &Value| match value {
        Value::String(text) => crate::quantity::parse(text),
        Value::Number(number) => crate::quantity::parse(&number.to_string()),
        _ => None,
    };
    (path.mentions("resources") || path.ends_with("divisor"))
        && amount(desired).is_some()
        && amount(desired) == amount(live)
}

#[cfg(test)]
mod tests;
