//! The common parts of the pods that serve, migrate and maintain, especially their hardening.

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapEnvSource, Container, EnvFromSource, EnvVar, KeyToPath,
    PodSecurityContext, PodSpec, SeccompProfile, SecretVolumeSource, SecurityContext, Volume,
    VolumeMount,
};

use super::Target;
use crate::crd::SecretKeyRef;

pub(crate) const SECRET_VOLUME: &str = "database-url";
const SECRET_DIRECTORY: &str = "/run/secrets/order-service";
const SECRET_FILE: &str = "database-url";
/// A user and group without privileges, the `nonroot` of distroless images.
const NON_ROOT_ID: i64 = 65532;

/// Builds a pod with one container that reads the URL of the database from a file.
pub(super) fn spec(target: &Target, secret: &SecretKeyRef, container: Container) -> PodSpec {
    PodSpec {
        service_account_name: Some(target.name.clone()),
        automount_service_account_token: Some(false),
        // Settings come from the environment, which must not contain the variables of other Services.
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(NON_ROOT_ID),
            run_as_group: Some(NON_ROOT_ID),
            // The file of the secret belongs to this group.
            fs_group: Some(NON_ROOT_ID),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        containers: vec![container],
        volumes: Some(vec![Volume {
            name: SECRET_VOLUME.to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.name.clone()),
                // Only the group of the pod can read it.
                default_mode: Some(0o440),
                items: Some(vec![KeyToPath {
                    key: secret.key.clone(),
                    path: SECRET_FILE.to_owned(),
                    mode: None,
                }]),
                optional: None,
            }),
            ..Volume::default()
        }]),
        ..PodSpec::default()
    }
}

/// Builds a hardened container of the image.
pub(super) fn container(target: &Target, name: &str, args: &[&str]) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(target.image.clone()),
        // Tags are never moved, and an image that was loaded into a local cluster is not in a registry.
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(args.iter().map(|&arg| arg.to_owned()).collect()),
        // A file instead of a variable: it is read for every connection, so that a rotated secret needs no
        // restart.
        env: Some(vec![variable(
            "DATABASE_URL_FILE",
            &format!("{SECRET_DIRECTORY}/{SECRET_FILE}"),
        )]),
        resources: Some(target.resources.clone()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities {
                add: None,
                drop: Some(vec!["ALL".to_owned()]),
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![VolumeMount {
            // A directory, because a file mounted by subPath is never updated.
            name: SECRET_VOLUME.to_owned(),
            mount_path: SECRET_DIRECTORY.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

/// The settings of the service as environment variables.
pub(super) fn settings(config_map: &str) -> Vec<EnvFromSource> {
    vec![EnvFromSource {
        config_map_ref: Some(ConfigMapEnvSource {
            name: config_map.to_owned(),
            optional: None,
        }),
        ..EnvFromSource::default()
    }]
}

/// An environment variable.
pub(super) fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    }
}
