//! TLS to a real PostgreSQL, to libpq's rules.

use std::process::Output;

use crate::support::certificates::{Certificates, put, reload, show};
use crate::support::database::{Cluster, connect};
use crate::support::server::run;

/// Runs `migrate` against the cluster with these parameters behind the URL.
fn migrate(cluster: &Cluster, parameters: &str) -> Output {
    let url = format!("{}?{parameters}", cluster.url);
    run(&["migrate"], &[("DATABASE_URL", &url)])
}

fn works(cluster: &Cluster, parameters: &str) {
    let out = migrate(cluster, parameters);
    assert!(out.status.success(), "{parameters}: {out:?}");
}

fn fails(cluster: &Cluster, parameters: &str, why: &str) {
    let out = migrate(cluster, parameters);
    let text = String::from_utf8(out.stderr).unwrap();
    assert_ne!(out.status.code(), Some(0), "{parameters}");
    assert!(text.contains(why), "{parameters}: {text}");
}

fn verify(root: &Certificates, name: &str, host: &str) -> String {
    let file = root.path(&format!("{name}.crt"));
    format!(
        "host={host}&hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={}",
        file.display()
    )
}

#[tokio::test]
async fn a_certificate_that_is_its_own_root_is_good_for_verify_full() {
    let (cluster, certificates) = (Cluster::start(), Certificates::new());
    let san = ["-addext", "subjectAltName=DNS:db.example"];
    certificates.self_signed("san", "/CN=other.example", &san);
    show(&cluster, &certificates, "san", None).await;
    works(&cluster, &verify(&certificates, "san", "db.example"));
    // The common name does not count beside an alternative name.
    let other = verify(&certificates, "san", "other.example");
    fails(&cluster, &other, "not valid for name");
    // As the manual of PostgreSQL makes one.
    certificates.self_signed("cn", "/CN=db.example", &[]);
    // The same name and another key.
    fails(
        &cluster,
        &verify(&certificates, "cn", "db.example"),
        "certificate",
    );
    show(&cluster, &certificates, "cn", None).await;
    works(&cluster, &verify(&certificates, "cn", "DB.example"));
    let wrong = verify(&certificates, "cn", "db2.example");
    fails(&cluster, &wrong, "not valid for name");
    works(&cluster, &wrong.replace("verify-full", "verify-ca"));
    works(&cluster, &wrong.replace("verify-full", "require"));
    certificates.expired("old", "/CN=db.example");
    show(&cluster, &certificates, "old", None).await;
    let old = verify(&certificates, "old", "db.example");
    fails(&cluster, &old, "expired");
    fails(
        &cluster,
        &old.replace("verify-full", "verify-ca"),
        "expired",
    );
    let client_only = ["-addext", "extendedKeyUsage=clientAuth"];
    certificates.self_signed("client", "/CN=db.example", &client_only);
    show(&cluster, &certificates, "client", None).await;
    let client = verify(&certificates, "client", "db.example");
    fails(&cluster, &client, "certificate");
}

#[tokio::test]
async fn a_certificate_of_an_authority_is_checked_by_chain_and_name() {
    let (cluster, certificates) = (Cluster::start(), Certificates::new());
    for name in ["ca", "stranger"] {
        certificates.self_signed(name, "/CN=An authority", &[]);
    }
    let name = "subjectAltName=DNS:db.example,IP:127.0.0.1";
    certificates.signed("server", "/CN=x", "ca", name);
    show(&cluster, &certificates, "server", None).await;
    works(&cluster, &verify(&certificates, "ca", "db.example"));
    works(&cluster, &verify(&certificates, "ca", "127.0.0.1"));
    let wrong = verify(&certificates, "ca", "x");
    fails(&cluster, &wrong, "not valid for name");
    works(&cluster, &wrong.replace("verify-full", "verify-ca"));
    let stranger = verify(&certificates, "stranger", "db.example");
    fails(&cluster, &stranger, "certificate");
    fails(
        &cluster,
        &stranger.replace("verify-full", "require"),
        "certificate",
    );
    // No public authority made it; and it is not asked in plain text either.
    let system = "host=db.example&hostaddr=127.0.0.1&sslrootcert=system";
    fails(&cluster, system, "certificate");
    works(&cluster, "sslmode=require");
    works(&cluster, "");
}

#[tokio::test]
async fn system_roots_alone_never_mean_plain_text() {
    // The server has no TLS, and would take anybody.
    let cluster = Cluster::start();
    fails(
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
async fn a_client_certificate_and_channel_binding_do_what_the_server_asks() {
    let (cluster, certificates) = (Cluster::start(), Certificates::new());
    certificates.self_signed("ca", "/CN=An authority", &[]);
    certificates.signed("server", "/CN=x", "ca", "subjectAltName=DNS:db.example");
    certificates.signed("shop", "/CN=shop", "ca", "extendedKeyUsage=clientAuth");
    show(
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
    put(&cluster, "pg_hba.conf", rules.as_bytes()).await;
    reload(&cluster).await;
    let shown = format!(
        "user=shop&sslmode=require&sslcert={}&sslkey={}",
        certificates.path("shop.crt").display(),
        certificates.path("shop.key").display()
    );
    works(&cluster, &shown);
    fails(&cluster, "user=shop&sslmode=require", "certificate");
    // A `?` as it is, and an `@` as libpq wants it.
    let login = |password: &str, parameters: &str| {
        let url = cluster
            .url
            .replace("postgres@", &format!("till:{password}@"));
        let url = format!("{url}?{parameters}");
        run(&["migrate"], &[("DATABASE_URL", &url)]).status.code()
    };
    assert_eq!(login("ge?heim%40x&y", "channel_binding=require"), Some(0));
    assert_eq!(login("ge%3Fheim%40x%26y", "sslmode=disable"), Some(0));
    assert_eq!(login("geheim", ""), Some(1));
    assert_eq!(
        login("ge?heim%40x&y", "sslmode=disable&channel_binding=require"),
        Some(1)
    );
}
