//! A pod template, and its parts that depend on the URL of the database.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

use crate::build::labels::{REVISION, SECRET_DIGEST};
use crate::build::{DATABASE_VOLUME, short_hash};

/// A pod template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(pub Value);

impl Template {
    /// Returns the pod template of a Deployment that was built.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(crate) fn of_deployment(deployment: &Deployment) -> Result<Self, serde_json::Error> {
        let spec = deployment.spec.as_ref();
        serde_json::to_value(spec.map(|spec| &spec.template)).map(Self)
    }

    /// Returns its revision, a hash of the template.
    pub(crate) fn revision(&self) -> &str {
        let labels = self.0.pointer("/metadata/labels");
        labels
            .and_then(|labels| labels.get(REVISION))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Returns the template without the digest of the secret, and without the revision, which depends on it.
    pub(crate) fn without_secret(&self) -> Value {
        let mut template = self.0.clone();
        for (fields, name) in [
            ("/metadata/labels", REVISION),
            ("/metadata/annotations", SECRET_DIGEST),
        ] {
            if let Some(Value::Object(fields)) = template.pointer_mut(fields) {
                fields.remove(name);
            }
        }
        // A copy of the secret has the digest in its name.
        if let Some(Value::Object(secret)) = secret_mut(&mut template) {
            secret.remove("secretName");
            if let Some(key) = secret.get_mut("items").and_then(key_mut) {
                *key = Value::Null;
            }
        }
        template
    }

    /// Returns a hash of the template without the URL of the database.
    pub(crate) fn hash_without_url(&self) -> String {
        short_hash(&self.without_secret())
    }

    /// Returns this template with the URL of the database of another one.
    pub(crate) fn with_url_of(&self, other: &Self) -> Self {
        let Some(from) = secret(&other.0).filter(|_| self.url() != other.url()) else {
            return self.clone();
        };
        let mut template = self.0.clone();
        if let Some(Value::Object(to)) = secret_mut(&mut template) {
            to.extend(
                from.get("secretName")
                    .map(|it| ("secretName".to_owned(), it.clone())),
            );
            let key = from.pointer("/items/0/key");
            if let (Some(to), Some(key)) = (to.get_mut("items").and_then(key_mut), key) {
                to.clone_from(key);
            }
        }
        if let Some(Value::Object(annotations)) = template.pointer_mut("/metadata/annotations") {
            annotations.remove(SECRET_DIGEST);
            let digest = other
                .database_digest()
                .map(|digest| Value::String(digest.to_owned()));
            annotations.extend(digest.map(|digest| (SECRET_DIGEST.to_owned(), digest)));
        }
        let revision = revision_of(&template);
        if let Some(Value::Object(labels)) = template.pointer_mut("/metadata/labels") {
            labels.insert(REVISION.to_owned(), Value::String(revision));
        }
        Self(template)
    }

    /// Identifies the URL of the database: by its digest, or by the secret if pods read that itself.
    pub(crate) fn url(&self) -> Option<&str> {
        self.database_digest().or_else(|| self.database_secret())
    }

    /// The image.
    pub(crate) fn image(&self) -> Option<&str> {
        self.0
            .pointer("/spec/containers/0/image")
            .and_then(Value::as_str)
    }

    /// Returns the name of the secret from which it reads the URL of the database.
    pub(crate) fn database_secret(&self) -> Option<&str> {
        secret(&self.0)?.get("secretName").and_then(Value::as_str)
    }

    /// Returns the digest of the URL of the database.
    pub(crate) fn database_digest(&self) -> Option<&str> {
        let annotations = self.0.pointer("/metadata/annotations")?;
        annotations.get(SECRET_DIGEST).and_then(Value::as_str)
    }

    /// Returns the name of the ConfigMap that it reads.
    pub(crate) fn config_map(&self) -> Option<&str> {
        let name = self
            .0
            .pointer("/spec/containers/0/envFrom/0/configMapRef/name");
        name.and_then(Value::as_str)
    }
}

/// The source of the volume with the URL of the database.
fn secret(template: &Value) -> Option<&Value> {
    let volumes = template.pointer("/spec/volumes")?.as_array()?;
    let is_database = |volume: &&Value| volume["name"] == DATABASE_VOLUME;
    volumes.iter().find(is_database)?.get("secret")
}

fn secret_mut(template: &mut Value) -> Option<&mut Value> {
    let volumes = template.pointer_mut("/spec/volumes")?.as_array_mut()?;
    let is_database = |volume: &&mut Value| volume["name"] == DATABASE_VOLUME;
    volumes.iter_mut().find(is_database)?.get_mut("secret")
}

fn key_mut(items: &mut Value) -> Option<&mut Value> {
    items.pointer_mut("/0/key")
}

/// Computes the revision of a template as its builder does, so that equal templates have equal revisions.
fn revision_of(template: &Value) -> String {
    let mut template = template.clone();
    if let Some(Value::Object(labels)) = template.pointer_mut("/metadata/labels") {
        labels.remove(REVISION);
    }
    match serde_json::from_value::<PodTemplateSpec>(template.clone()) {
        Ok(template) => short_hash(&template),
        Err(_) => short_hash(&template),
    }
}
