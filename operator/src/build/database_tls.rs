//! The certificates for the connections to the database: mounted files, and the variables that name them. They apply
//! where the URL has no such parameter, so a generated URL needs no change, and a URL can still name other files.

use k8s_openapi::api::core::v1::{EnvVar, PodSpec};

use super::pod;
use crate::crd::DatabaseTls;

const CA_VOLUME: &str = "database-ca";
const CA_DIRECTORY: &str = "/run/secrets/order-service-database-ca";
const CA_FILE: &str = "ca.crt";
const CLIENT_VOLUME: &str = "database-client";
const CLIENT_DIRECTORY: &str = "/run/secrets/order-service-database-client";
const CERTIFICATE_FILE: &str = "tls.crt";
const KEY_FILE: &str = "tls.key";

/// The variables of the container.
pub(super) fn variables(tls: &DatabaseTls) -> Vec<EnvVar> {
    let DatabaseTls {
        ca_secret_ref,
        client_secret_ref,
    } = tls;
    let mut variables = Vec::new();
    if ca_secret_ref.is_some() {
        variables.push(pod::variable("DATABASE_SSLMODE", "verify-full"));
        let file = format!("{CA_DIRECTORY}/{CA_FILE}");
        variables.push(pod::variable("DATABASE_SSLROOTCERT", &file));
    }
    if client_secret_ref.is_some() {
        for (name, file) in [
            ("DATABASE_SSLCERT", CERTIFICATE_FILE),
            ("DATABASE_SSLKEY", KEY_FILE),
        ] {
            let file = format!("{CLIENT_DIRECTORY}/{file}");
            variables.push(pod::variable(name, &file));
        }
    }
    variables
}

/// Mounts the secrets into all containers.
pub(super) fn mount(tls: &DatabaseTls, spec: &mut PodSpec) {
    let DatabaseTls {
        ca_secret_ref,
        client_secret_ref,
    } = tls;
    if let Some(ca) = ca_secret_ref {
        let items = [(ca.key.as_str(), CA_FILE)];
        pod::mount_secret(spec, CA_VOLUME, CA_DIRECTORY, &ca.name, &items);
    }
    if let Some(client) = client_secret_ref {
        let items = [
            (client.certificate.as_str(), CERTIFICATE_FILE),
            (client.private_key.as_str(), KEY_FILE),
        ];
        pod::mount_secret(spec, CLIENT_VOLUME, CLIENT_DIRECTORY, &client.name, &items);
    }
}
