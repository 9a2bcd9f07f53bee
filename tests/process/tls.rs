//! TLS to PostgreSQL, by the rules of libpq.

use std::process::Output;

use crate::support::binary::{run, run_on, stderr};
use crate::support::certificates::{Certificates, reload, serve_certificate, write_data_file};
use crate::support::cluster::Cluster;
use crate::support::database::connect;

/// Runs `migrate` against the cluster with these parameters behind the URL.
fn migrate(cluster: &Cluster, parameters: &str) -> Output {
    let url = format!("{}?{parameters}", cluster.url);
    run_on(&url, &["migrate"])
}

fn expect_success(cluster: &Cluster, parameters: &str) {
    let out = migrate(cluster, parameters);
    assert!(out.status.success(), "{parameters}: {out:?}");
}

fn expect_failure(cluster: &Cluster, parameters: &str, why: &str) {
    let out = migrate(cluster, parameters);
    let text = stderr(&out);
    assert_ne!(out.status.code(), Some(0), "{parameters}");
    assert!(text.contains(why), "{parameters}: {text}");
}

/// Parameters that verify the chain and the name, with `NAME.crt` as the root.
fn verify_full(root: &Certificates, name: &str, host: &str) -> String {
    let file = root.path(&format!("{name}.crt"));
    format!(
        "host={host}&hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={}",
        file.display()
    )
}

#[tokio::test]
async fn a_self_signed_certificate_that_is_its_own_root_passes_verify_full() {
    let (cluster, certificates) = (Cluster::start(), Certificates::new());
    let san = ["-addext", "subjectAltName=DNS:db.example"];
    certificates.self_signed("san", "/CN=other.example", &san);
    serve_certificate(&cluster, &certificates, "san", None).await;
    expect_success(&cluster, &verify_full(&certificates, "san", "db.example"));
    // The common name is ignored when there is an alternative name.
    let other = verify_full(&certificates, "san", "other.example");
    expect_failure(&cluster, &other, "not valid for name");
    // Created as in the PostgreSQL manual, without an alternative name.
    certificates.self_signed("cn", "/CN=db.example", &[]);
    // The server still presents another certificate for the same name.
    expect_failure(
        &cluster,
        &verify_full(&certificates, "cn", "db.example"),
        "certificate",
    );
    serve_certificate(&cluster, &certificates, "cn", None).await;
    expect_success(&cluster, &verify_full(&certificates, "cn", "DB.example"));
    let wrong = verify_full(&certificates, "cn", "db2.example");
    expect_failure(&cluster, &wrong, "not valid for name");
    expect_success(&cluster, &wrong.replace("verify-full", "verify-ca"));
    expect_success(&cluster, &wrong.replace("verify-full", "require"));
    certificates.expired("old", "/CN=db.example");
    serve_certificate(&cluster, &certificates, "old", None).await;
    let old = verify_full(&certificates, "old", "db.example");
    expect_failure(&cluster, &old, "expired");
    expect_failure(
        &cluster,
        &old.replace("verify-full", "verify-ca"),
        "expired",
    );
    let client_only = ["-addext", "extendedKeyUsage=clientAuth"];
    certificates.self_signed("client", "/CN=db.example", &client_only);
    serve_certificate(&cluster, &certificates, "client", None).await;
    let client = verify_full(&certificates, "client", "db.example");
    expect_failure(&cluster, &client, "certificate");
}

#[tokio::test]
async fn a_certificate_of_an_authority_is_checked_by_chain_and_name() {
    let (cluster, certificates) = (Cluster::start(), Certificates::new());
    for name in ["ca", "stranger"] {
        certificates.self_signed(name, "/CN=An authority", &[]);
    }
    let name = "subjectAltName=DNS:db.example,IP:127.0.0.1";
    certificates.signed("server", "/CN=x", "ca", name);
    serve_certificate(&cluster, &certificates, "server", None).await;
    expect_success(&cluster, &verify_full(&certificates, "ca", "db.example"));
    expect_success(&cluster, &verify_full(&certificates, "ca", "127.0.0.1"));
    let wrong = verify_full(&certificates, "ca", "x");
    expect_failure(&cluster, &wrong, "not valid for name");
    expect_success(&cluster, &wrong.replace("verify-full", "verify-ca"));
    let stranger = verify_full(&certificates, "stranger", "db.example");
    expect_failure(&cluster, &stranger, "certificate");
    expect_failure(
        &cluster,
        &stranger.replace("verify-full", "require"),
        "certificate",
    );
    // No public authority signed it, and there is no fallback to plain text.
    let system = "host=db.example&hostaddr=127.0.0.1&sslrootcert=system";
    expect_failure(&cluster, system, "certificate");
    expect_success(&cluster, "sslmode=require");
    expect_success(&cluster, "");
}

#[tokio::test]
async fn system_roots_never_allow_a_connection_without_tls() {
    // The server has no TLS and trusts every client.
    let cluster = Cluster::start();
    expect_failure(
        &cluster,
        "sslrootcert=system",
        "server does not support TLS",
    );
    for weaker in ["disable", "allow", "prefer", "require", "verify-ca"] {
        let out = migrate(&cluster, &format!("sslrootcert=system&sslmode={weaker}"));
        assert_eq!(out.status.code(), Some(2), "{out:?}");
    }
}

#[tokio::test]
async fn client_certificates_and_channel_binding_are_used_as_the_server_requires() {
    let (cluster, certificates) = (Cluster::start(), Certificates::new());
    certificates.self_signed("ca", "/CN=An authority", &[]);
    certificates.signed("server", "/CN=x", "ca", "subjectAltName=DNS:db.example");
    certificates.signed("shop", "/CN=shop", "ca", "extendedKeyUsage=clientAuth");
    serve_certificate(
        &cluster,
        &certificates,
        "server",
        Some(&certificates.path("ca.crt")),
    )
    .await;
    let admin = connect(&cluster.url).await;
    admin
        .batch_execute(
            "CREATE ROLE shop LOGIN SUPERUSER;
             CREATE ROLE till LOGIN SUPERUSER PASSWORD 'ge?heim@x&y'",
        )
        .await
        .unwrap();
    let rules = "hostssl all shop 127.0.0.1/32 cert\n\
                 host all till 127.0.0.1/32 scram-sha-256\n\
                 host all postgres 127.0.0.1/32 trust\n";
    write_data_file(&cluster, "pg_hba.conf", rules.as_bytes()).await;
    reload(&cluster).await;
    let shown = format!(
        "user=shop&sslmode=require&sslcert={}&sslkey={}",
        certificates.path("shop.crt").display(),
        certificates.path("shop.key").display()
    );
    expect_success(&cluster, &shown);
    expect_failure(&cluster, "user=shop&sslmode=require", "certificate");
    // The same files as defaults of a URL without parameters, as a provisioner of databases generates it.
    let path = |name: &str| certificates.path(name).display().to_string();
    let url = cluster.url.replace("postgres@", "shop@");
    let (certificate, key) = (path("shop.crt"), path("shop.key"));
    let with_root = |root: &str| {
        let variables = [
            ("DATABASE_URL", url.as_str()),
            ("DATABASE_SSLMODE", "verify-ca"),
            ("DATABASE_SSLROOTCERT", root),
            ("DATABASE_SSLCERT", &certificate),
            ("DATABASE_SSLKEY", &key),
        ];
        run(&["migrate"], &variables)
    };
    let out = with_root(&path("ca.crt"));
    assert!(out.status.success(), "{out:?}");
    assert!(!with_root(&path("shop.crt")).status.success());
    // libpq accepts a `?` as it is; an `@` must be encoded.
    let login = |password: &str, parameters: &str| {
        let url = cluster
            .url
            .replace("postgres@", &format!("till:{password}@"));
        let url = format!("{url}?{parameters}");
        run_on(&url, &["migrate"]).status.code()
    };
    assert_eq!(login("ge?heim%40x&y", "channel_binding=require"), Some(0));
    assert_eq!(login("ge%3Fheim%40x%26y", "sslmode=disable"), Some(0));
    assert_eq!(login("geheim", ""), Some(3));
    assert_eq!(
        login("ge?heim%40x&y", "sslmode=disable&channel_binding=require"),
        Some(3)
    );
}
