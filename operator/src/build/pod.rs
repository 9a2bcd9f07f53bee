//! The common parts of the pods that serve, migrate and maintain, especially their hardening.

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapEnvSource, Container, EnvFromSource, EnvVar, KeyToPath,
    PodSecurityContext, PodSpec, SeccompProfile, SecretVolumeSource, SecurityContext, Volume,
    VolumeMount,
};

use super::{Target, database_tls};
use crate::crd::{PodUser, SecretKeyRef};

/// The container that serves.
pub(super) const SERVER_CONTAINER: &str = "order-service";
/// The volumes of the operator.
pub(super) const RESERVED_VOLUMES: [&str; 4] =
    [SECRET_VOLUME, "auth", "database-ca", "database-client"];
/// The volume with the URL of the database.
pub(crate) const SECRET_VOLUME: &str = "database-url";
const SECRET_DIRECTORY: &str = "/run/secrets/order-service";
const SECRET_FILE: &str = "database-url";
/// A user and group without privileges, the `nonroot` of distroless images.
const NON_ROOT_ID: i64 = 65532;

/// Builds a pod with one container that reads the URL of the database from a file.
pub(super) fn spec(target: &Target, secret: &SecretKeyRef, container: Container) -> PodSpec {
    let mut spec = PodSpec {
        service_account_name: Some(target.name.clone()),
        automount_service_account_token: Some(false),
        // Settings come from the environment, which must not contain the variables of other Services.
        enable_service_links: Some(false),
        security_context: Some(security_context(target.pods.user)),
        containers: vec![container],
        ..PodSpec::default()
    };
    let items = [(secret.key.as_str(), SECRET_FILE)];
    mount_secret(
        &mut spec,
        SECRET_VOLUME,
        SECRET_DIRECTORY,
        &secret.name,
        &items,
    );
    if let Some(tls) = &target.database_tls {
        database_tls::mount(tls, &mut spec);
    }
    target.pods.apply(&mut spec);
    spec
}

fn security_context(user: PodUser) -> PodSecurityContext {
    let hardened = PodSecurityContext {
        run_as_non_root: Some(true),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    };
    match user {
        PodUser::Fixed => PodSecurityContext {
            run_as_user: Some(NON_ROOT_ID),
            run_as_group: Some(NON_ROOT_ID),
            // The files of the secrets belong to this group.
            fs_group: Some(NON_ROOT_ID),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            ..hardened
        },
        // An admission controller sets them, and rejects a pod with others.
        PodUser::Platform => hardened,
    }
}

/// Mounts keys of a secret as files into all containers. A directory, because a file mounted by subPath is never
/// updated.
pub(super) fn mount_secret(
    spec: &mut PodSpec,
    volume: &str,
    directory: &str,
    secret: &str,
    items: &[(&str, &str)],
) {
    let items: Vec<_> = items
        .iter()
        .map(|(key, path)| KeyToPath {
            key: (*key).to_owned(),
            path: (*path).to_owned(),
            mode: None,
        })
        .collect();
    spec.volumes.get_or_insert_default().push(Volume {
        name: volume.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            // Only the group of the pod can read it.
            default_mode: Some(0o440),
            // Without items, all keys are mounted.
            items: (!items.is_empty()).then_some(items),
            optional: None,
        }),
        ..Volume::default()
    });
    for container in &mut spec.containers {
        let mounts = container.volume_mounts.get_or_insert_default();
        mounts.push(VolumeMount {
            name: volume.to_owned(),
            mount_path: directory.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        });
    }
}

/// Builds a hardened container of the image.
pub(super) fn container(target: &Target, name: &str, args: &[&str]) -> Container {
    // A file instead of a variable: it is read for every connection, so that a rotated secret needs no restart.
    let file = format!("{SECRET_DIRECTORY}/{SECRET_FILE}");
    let mut env = vec![variable("DATABASE_URL_FILE", &file)];
    env.extend(target.database_tls.iter().flat_map(database_tls::variables));
    Container {
        name: name.to_owned(),
        image: Some(target.image.clone()),
        // Tags are never moved, and an image that was loaded into a local cluster is not in a registry.
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(args.iter().map(|&arg| arg.to_owned()).collect()),
        env: Some(env),
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
