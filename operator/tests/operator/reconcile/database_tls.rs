//! The secrets with the certificates for the connections to the database.

use order_operator::cluster::Kind;
use serde_json::{Value, json};

use super::assert_idle;
use crate::test_cluster::TestCluster;

fn cluster() -> TestCluster {
    let mut spec = TestCluster::spec("orders:1");
    spec["database"]["tls"] = json!({
        "caSecretRef": {"name": "ca"}, "clientSecretRef": {"name": "client"},
    });
    TestCluster::new(spec)
}

fn mounted(template: &Value) -> Vec<String> {
    let volumes = template["spec"]["volumes"].as_array().unwrap().iter();
    volumes
        .filter(|volume| volume["name"].as_str().unwrap().starts_with("database-c"))
        .map(|volume| {
            assert_eq!(volume["secret"]["defaultMode"], 0o440);
            volume["secret"]["secretName"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn missing_secrets_and_keys_are_reported_one_after_the_other() {
    let cluster = cluster();
    let mut expected = Vec::new();
    let steps: [(&str, &[(&str, &str)]); 4] = [
        ("ca", &[("tls.crt", "x")]),
        ("ca", &[("ca.crt", "x")]),
        ("client", &[("tls.crt", "x")]),
        ("client", &[("tls.crt", "x"), ("tls.key", "")]),
    ];
    for (name, data) in steps {
        let (result, calls) = cluster.run().await;
        result.unwrap();
        assert!(
            !calls.iter().any(|call| call.starts_with("apply jobs")),
            "{calls:?}"
        );
        assert_eq!(cluster.status_and_reason("Degraded"), "True SecretNotFound");
        expected.push(cluster.condition("Degraded").message);
        cluster.secret_with(name, data);
    }
    cluster.run().await.0.unwrap();
    expected.push(cluster.condition("Degraded").message);
    assert_eq!(
        expected,
        [
            "Secret ca does not exist",
            "Secret ca has no key ca.crt",
            "Secret client does not exist",
            "Secret client has no key tls.key",
            "Secret client has nothing in tls.key",
        ]
    );
}

#[tokio::test]
async fn every_pod_mounts_the_certificates_and_a_renewed_one_needs_no_rollout() {
    let cluster = cluster();
    cluster.secret_with("ca", &[("ca.crt", "x")]);
    cluster.secret_with("client", &[("tls.crt", "x"), ("tls.key", "x")]);
    let cluster = cluster.rolled_out().await;
    let deployment = cluster.deployment()["spec"]["template"].clone();
    let job = cluster.names(Kind::Job).pop().unwrap();
    let job = cluster.get("jobs", &job).unwrap()["spec"]["template"].clone();
    let maintenance = cluster.get("cronjobs", "orders-maintain").unwrap();
    let maintenance = maintenance["spec"]["jobTemplate"]["spec"]["template"].clone();
    for template in [&deployment, &job, &maintenance] {
        assert_eq!(mounted(template), ["ca", "client"]);
        let container = &template["spec"]["containers"][0];
        let variables = container["env"].as_array().unwrap();
        let variable = |name: &str| {
            let found = variables.iter().find(|variable| variable["name"] == name);
            found.unwrap()["value"].as_str().unwrap().to_owned()
        };
        assert_eq!(variable("DATABASE_SSLMODE"), "verify-full");
        for (name, file) in [
            ("DATABASE_SSLROOTCERT", "ca.crt"),
            ("DATABASE_SSLCERT", "tls.crt"),
            ("DATABASE_SSLKEY", "tls.key"),
        ] {
            let path = variable(name);
            let mounts = container["volumeMounts"].as_array().unwrap();
            let mount = mounts
                .iter()
                .find(|mount| path == format!("{}/{file}", mount["mountPath"].as_str().unwrap()));
            // A file mounted by subPath is never updated.
            assert!(mount.unwrap()["subPath"].is_null());
        }
    }
    cluster.secret_with("client", &[("tls.crt", "renewed"), ("tls.key", "renewed")]);
    assert_idle(&cluster).await;
}
