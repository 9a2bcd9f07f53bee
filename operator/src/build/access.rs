//! Who may call: the variables and the volume of the pods that serve.

use k8s_openapi::api::core::v1::{EnvVar, PodSpec};
use serde_json::Value;

use super::pod;
use crate::crd::{AnonymousScope, Auth, SecretKeyRef};

const VOLUME: &str = "auth";
const DIRECTORY: &str = "/run/secrets/order-service-auth";
const FILE_VARIABLE: &str = "AUTH_FILE";
const ANONYMOUS_VARIABLE: &str = "AUTH_ANONYMOUS";
/// Every scope that a request may need. Together they are as open as `all`.
const SCOPES: [AnonymousScope; 4] = [
    AnonymousScope::OrdersRead,
    AnonymousScope::OrdersWrite,
    AnonymousScope::EventsRead,
    AnonymousScope::Admin,
];

/// Who may call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Access {
    /// The secret with `AUTH_FILE`.
    pub(crate) secret: Option<SecretKeyRef>,
    /// What requests without credentials may do.
    pub(crate) anonymous: Anonymous,
}

/// What requests without credentials may do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Anonymous {
    /// Everything, because the spec has no `auth`.
    Unset,
    /// Everything, as the spec says.
    All,
    /// What these scopes allow. Empty: nothing.
    Scopes(Vec<AnonymousScope>),
}

impl Access {
    pub(super) fn new(auth: Option<Auth>) -> Self {
        let Some(Auth {
            secret_ref,
            anonymous,
        }) = auth
        else {
            return Self {
                secret: None,
                anonymous: Anonymous::Unset,
            };
        };
        let is_all = anonymous.contains(&AnonymousScope::All)
            || SCOPES.iter().all(|scope| anonymous.contains(scope));
        Self {
            secret: secret_ref.map(SecretKeyRef::from),
            anonymous: if is_all {
                Anonymous::All
            } else {
                Anonymous::Scopes(anonymous)
            },
        }
    }

    /// The variables of the service.
    pub(super) fn variables(&self) -> Vec<EnvVar> {
        let file = self
            .secret
            .as_ref()
            .map(|secret| pod::variable(FILE_VARIABLE, &format!("{DIRECTORY}/{}", secret.key)));
        let anonymous = match &self.anonymous {
            // An object without `auth` is older than the field, and must keep working.
            Anonymous::Unset | Anonymous::All => Some(AnonymousScope::All.as_str().to_owned()),
            // With a file, the default of the service is none.
            Anonymous::Scopes(scopes) if scopes.is_empty() => None,
            Anonymous::Scopes(scopes) => {
                let scopes: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
                Some(scopes.join(","))
            }
        };
        let anonymous = anonymous.map(|value| pod::variable(ANONYMOUS_VARIABLE, &value));
        file.into_iter().chain(anonymous).collect()
    }

    /// Mounts the secret.
    pub(super) fn mount(&self, spec: &mut PodSpec) {
        let Some(secret) = &self.secret else {
            return;
        };
        pod::mount_secret(spec, VOLUME, DIRECTORY, &secret.name, &[]);
    }
}

/// Whether the pods of a template need credentials for some requests. The template may be that of an earlier
/// version of the operator.
pub(crate) fn template_is_secured(template: &Value) -> bool {
    let variables = template.pointer("/spec/containers/0/env");
    let variable = |name: &str| {
        let variables = variables.and_then(Value::as_array)?;
        let found = variables.iter().find(|variable| variable["name"] == name)?;
        found["value"].as_str()
    };
    variable(FILE_VARIABLE).is_some()
        && variable(ANONYMOUS_VARIABLE) != Some(AnonymousScope::All.as_str())
}

#[cfg(test)]
mod tests {
    use AnonymousScope::{Admin, All, EventsRead, OrdersRead, OrdersWrite};

    use super::*;
    use crate::crd::AuthSecretRef;

    fn access(secret: bool, anonymous: &[AnonymousScope]) -> Access {
        let secret_ref = secret.then(|| AuthSecretRef {
            name: "orders-auth".to_owned(),
            key: "auth.toml".to_owned(),
        });
        Access::new(Some(Auth {
            secret_ref,
            anonymous: anonymous.to_vec(),
        }))
    }

    fn variables(access: &Access) -> Vec<String> {
        let variables = access.variables().into_iter();
        variables
            .map(|variable| format!("{}={}", variable.name, variable.value.unwrap_or_default()))
            .collect()
    }

    const FILE: &str = "AUTH_FILE=/run/secrets/order-service-auth/auth.toml";

    #[test]
    fn an_object_without_auth_is_open() {
        let access = Access::new(None);
        assert_eq!(variables(&access), ["AUTH_ANONYMOUS=all"]);
    }

    #[test]
    fn a_secret_without_anonymous_scopes_is_the_default_of_the_service() {
        let access = access(true, &[]);
        assert_eq!(variables(&access), [FILE]);
    }

    #[test]
    fn anonymous_scopes_are_those_of_the_spec() {
        let some = access(true, &[OrdersRead, EventsRead]);
        assert_eq!(
            variables(&some),
            [FILE, "AUTH_ANONYMOUS=orders:read,events:read"]
        );
        let without_secret = access(false, &[OrdersRead]);
        assert_eq!(variables(&without_secret), ["AUTH_ANONYMOUS=orders:read"]);
    }

    #[test]
    fn a_template_is_secured_by_its_variables() {
        let template = |variables: &[EnvVar]| serde_json::json!({"spec": {"containers": [{"env": variables}]}});
        let secured = |access: &Access| template_is_secured(&template(&access.variables()));
        assert!(secured(&access(true, &[])));
        assert!(secured(&access(true, &[OrdersRead])));
        assert!(!secured(&access(true, &[All])));
        assert!(!secured(&access(false, &[OrdersRead])));
        assert!(!secured(&Access::new(None)));
        let earlier = template(&[pod::variable("BIND_ADDRESS", "0.0.0.0:8080")]);
        assert!(
            !template_is_secured(&earlier),
            "of an operator without access control"
        );
    }

    #[test]
    fn every_scope_is_as_open_as_all() {
        for open in [&[All][..], &[Admin, OrdersRead, EventsRead, OrdersWrite]] {
            let access = access(true, open);
            assert_eq!(variables(&access), [FILE, "AUTH_ANONYMOUS=all"]);
        }
    }
}
