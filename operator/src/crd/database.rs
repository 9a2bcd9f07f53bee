//! The database: its URL, its certificates, and what happens when they change.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The database.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// Secret with the URL of the database. Another name is treated like another URL. It must be a URL of the same
    /// orders: another database needs another OrderService.
    pub secret_ref: SecretKeyRef,
    /// What happens when the URL changes. `Roll`: the migration tries it, then the pods are replaced, and a rollback
    /// returns to the previous URL, because pods read a copy of the secret. `Reload`: pods read the new URL within
    /// about two minutes, without a migration, a rollout or a rollback; for credentials that expire. `Ignore`: pods keep
    /// the URL with which they rolled out until `secretRef` changes.
    #[serde(default)]
    pub on_secret_change: OnSecretChange,
    /// Certificates for the connections to the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<DatabaseTls>,
}

/// What happens when the URL of the database changes.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub enum OnSecretChange {
    /// Migrate and replace the pods.
    #[default]
    Roll,
    /// Running pods read the new URL.
    Reload,
    /// Pods keep the URL with which they rolled out.
    Ignore,
}

/// Certificates for the connections to the database.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.caSecretRef) || has(self.clientSecretRef)",
    "message": "database.tls needs caSecretRef or clientSecretRef",
}]))]
pub struct DatabaseTls {
    /// Secret with the certificates of the authorities that sign the certificate of the database. It is
    /// `sslrootcert` of a URL that has none, and `sslmode` of a URL that has none is then `verify-full`. Changed
    /// certificates need no rollout, because each new connection reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<CaSecretRef>,
    /// Secret with a client certificate, with which the service, the migration and the maintenance log in. It is
    /// `sslcert` and `sslkey` of a URL that has neither. A renewed certificate needs no rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<ClientSecretRef>,
}

/// The key of a secret in the same namespace that holds certificates of authorities.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaSecretRef {
    /// Name of the secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SUBDOMAIN))]
    pub name: String,
    /// Key of the secret whose value is the certificates in PEM.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SECRET_KEY))]
    pub key: String,
}

fn default_ca_key() -> String {
    "ca.crt".to_owned()
}

/// The keys of a secret in the same namespace that holds a client certificate, as in secrets of the type
/// `kubernetes.io/tls`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecretRef {
    /// Name of the secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SUBDOMAIN))]
    pub name: String,
    /// Key of the secret whose value is the certificate in PEM.
    #[serde(default = "default_certificate")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SECRET_KEY))]
    pub certificate: String,
    /// Key of the secret whose value is the private key in PEM.
    #[serde(default = "default_private_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SECRET_KEY))]
    pub private_key: String,
}

fn default_certificate() -> String {
    "tls.crt".to_owned()
}

fn default_private_key() -> String {
    "tls.key".to_owned()
}

/// The database role of the migration.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Migrations {
    /// Secret with the URL of the role that owns the tables.
    pub secret_ref: SecretKeyRef,
}

/// One key of a secret in the same namespace.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SUBDOMAIN))]
    pub name: String,
    /// Key of the secret whose value is the URL.
    #[serde(default = "default_secret_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SECRET_KEY))]
    pub key: String,
}

fn default_secret_key() -> String {
    "database-url".to_owned()
}
