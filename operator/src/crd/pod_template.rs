//! What may be added to the pods that serve.
//!
//! The schema lists the fields of a pod that may be given, and preserves unknown fields only below them. The API server
//! rejects or drops other fields, such as `hostNetwork` and `securityContext`. So a field that a later version of
//! Kubernetes adds cannot weaken the pod.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Additions to the pods that serve.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct PodTemplate {
    /// Part of the `spec` of a pod, merged by the names of containers, volumes and variables: `containers`,
    /// `initContainers`, `volumes`, `hostAliases`, `dnsPolicy`, `dnsConfig`, `readinessGates`, `hostUsers` and
    /// `terminationGracePeriodSeconds`, which can only be raised. The container `order-service` takes `env` and
    /// `volumeMounts`. Added containers are hardened like it and may set only user, group and
    /// `readOnlyRootFilesystem`. Default: none.
    #[schemars(schema_with = "spec")]
    pub spec: Value,
}

/// A part of the spec of a pod.
fn spec(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "containers": containers(),
            "initContainers": containers(),
            "volumes": {
                "type": "array", "maxItems": 32,
                "items": {
                    "type": "object", "required": ["name"], "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {
                        "name": {"type": "string", "maxLength": 63},
                        "hostPath": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    },
                    "x-kubernetes-validations": [{
                        "rule": "!has(self.hostPath)",
                        "message": "podTemplate must not mount a directory of the node (hostPath)",
                    }, {
                        "rule": "!(self.name in ['database-url', 'database-ca', 'database-client', 'auth'])",
                        "message": "podTemplate must not change a volume of the operator",
                    }],
                },
            },
            "hostAliases": {
                "type": "array", "maxItems": 32,
                "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
            "dnsPolicy": {"type": "string", "maxLength": 63},
            "dnsConfig": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "readinessGates": {
                "type": "array", "maxItems": 8,
                "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
            "hostUsers": {"type": "boolean"},
            "terminationGracePeriodSeconds": {"type": "integer", "format": "int64", "minimum": 1},
        },
    })
}

fn containers() -> Value {
    let preserved = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let texts = json!({"type": "array", "maxItems": 64, "items": {"type": "string"}});
    json!({
        "type": "array", "maxItems": 10,
        "items": {
            "type": "object", "required": ["name"], "x-kubernetes-preserve-unknown-fields": true,
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 63},
                "image": {"type": "string", "maxLength": 512},
                "command": texts,
                "args": texts,
                "workingDir": {"type": "string"},
                "resources": preserved,
                "lifecycle": preserved,
                "startupProbe": preserved,
                "livenessProbe": preserved,
                "readinessProbe": preserved,
                "ports": {
                    "type": "array", "maxItems": 16,
                    "items": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                        "properties": {"hostPort": {"type": "integer"}},
                        "x-kubernetes-validations": [{
                            "rule": "!has(self.hostPort)",
                            "message": "podTemplate must not use a port of the node (hostPort)",
                        }],
                    },
                },
                "envFrom": {
                    "type": "array", "maxItems": 16,
                    "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                },
                "env": {
                    "type": "array", "maxItems": 64,
                    "items": {
                        "type": "object", "required": ["name"], "x-kubernetes-preserve-unknown-fields": true,
                        "properties": {"name": {"type": "string", "maxLength": 253}},
                    },
                },
                "volumeMounts": {
                    "type": "array", "maxItems": 32,
                    "items": {
                        "type": "object", "required": ["mountPath"], "x-kubernetes-preserve-unknown-fields": true,
                        "properties": {"mountPath": {"type": "string", "maxLength": 1024}},
                    },
                },
                "securityContext": {
                    "type": "object",
                    "properties": {
                        "allowPrivilegeEscalation": {"type": "boolean", "enum": [false]},
                        "privileged": {"type": "boolean", "enum": [false]},
                        "runAsNonRoot": {"type": "boolean", "enum": [true]},
                        "readOnlyRootFilesystem": {"type": "boolean"},
                        "runAsUser": {"type": "integer", "format": "int64", "minimum": 1},
                        "runAsGroup": {"type": "integer", "format": "int64", "minimum": 1},
                        "capabilities": {
                            "type": "object",
                            "properties": {"drop": {"type": "array", "maxItems": 64, "items": {"type": "string"}}},
                        },
                    },
                },
            },
            "x-kubernetes-validations": [{
                "rule": "self.name == 'order-service' || has(self.image)",
                "message": "podTemplate: an added container needs an image",
            }, {
                "rule": "self.name != 'order-service' || !(has(self.image) || has(self.command) || has(self.args) || has(self.workingDir) || has(self.resources) || has(self.lifecycle) || has(self.startupProbe) || has(self.livenessProbe) || has(self.readinessProbe) || has(self.ports) || has(self.envFrom) || has(self.securityContext))",
                "message": "podTemplate: the container order-service takes only env and volumeMounts",
            }, {
                "rule": "self.name != 'order-service' || !has(self.env) || self.env.all(variable, !(variable.name in ['BIND_ADDRESS', 'METRICS_ADDRESS', 'DATABASE_URL', 'DATABASE_URL_FILE', 'DATABASE_SSLMODE', 'DATABASE_SSLROOTCERT', 'DATABASE_SSLCERT', 'DATABASE_SSLKEY', 'AUTH_FILE', 'AUTH_ANONYMOUS', 'DRAIN_DELAY', 'SHUTDOWN_TIMEOUT', 'WORKERS', 'MIGRATE_ON_START']))",
                "message": "podTemplate must not set a variable that the operator sets",
            }, {
                "rule": "self.name != 'order-service' || !has(self.volumeMounts) || self.volumeMounts.all(mount, !mount.mountPath.startsWith('/run/secrets/order-service'))",
                "message": "podTemplate must not mount a volume over the secrets of the operator",
            }],
        },
    })
}
