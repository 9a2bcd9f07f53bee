//! Certificates made with `openssl`, for a PostgreSQL cluster to present.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::cluster::Cluster;
use super::database::connect;

/// A directory of certificates and keys.
pub struct Certificates(TempDir);

impl Certificates {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// Runs `openssl` in the directory.
    pub fn openssl(&self, args: &[&str]) {
        let out = Command::new("openssl")
            .args(args)
            .current_dir(self.0.path())
            .output()
            .unwrap();
        assert!(out.status.success(), "{args:?}: {out:?}");
    }

    /// Makes `NAME.key` and a self-signed `NAME.crt`.
    pub fn self_signed(&self, name: &str, subject: &str, extra: &[&str]) {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        let mut args = vec![
            "req",
            "-new",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            subject,
            "-keyout",
            &key,
            "-out",
            &certificate,
        ];
        args.extend(extra);
        self.openssl(&args);
    }

    /// Makes `NAME.key` and a self-signed `NAME.crt` that expired in 2021.
    pub fn expired(&self, name: &str, subject: &str) {
        let authority = "[ca]\ndefault_ca = here\n[here]\ndatabase = index.txt\n\
                         new_certs_dir = .\nrand_serial = yes\ndefault_md = sha256\n\
                         policy = any\nx509_extensions = root\n[any]\ncommonName = supplied\n\
                         [root]\nbasicConstraints = critical, CA:TRUE\n";
        std::fs::write(self.path("ca.conf"), authority).unwrap();
        std::fs::write(self.path("index.txt"), "").unwrap();
        // This makes the key; the certificate is replaced below.
        self.self_signed(name, subject, &[]);
        let file = |end: &str| format!("{name}.{end}");
        self.openssl(&[
            "req",
            "-new",
            "-key",
            &file("key"),
            "-subj",
            subject,
            "-out",
            &file("csr"),
        ]);
        self.openssl(&[
            "ca",
            "-batch",
            "-selfsign",
            "-notext",
            "-config",
            "ca.conf",
            "-in",
            &file("csr"),
            "-keyfile",
            &file("key"),
            "-startdate",
            "20200101000000Z",
            "-enddate",
            "20210101000000Z",
            "-out",
            &file("crt"),
        ]);
    }

    /// Makes `NAME.key` and a `NAME.crt` that `CA.crt` signs.
    pub fn signed(&self, name: &str, subject: &str, ca: &str, extensions: &str) {
        let file = |end: &str| format!("{name}.{end}");
        std::fs::write(self.path(&file("ext")), extensions).unwrap();
        self.openssl(&[
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            subject,
            "-keyout",
            &file("key"),
            "-out",
            &file("csr"),
        ]);
        let (ca_certificate, ca_key) = (format!("{ca}.crt"), format!("{ca}.key"));
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &file("csr"),
            "-days",
            "2",
            "-CA",
            &ca_certificate,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-extfile",
            &file("ext"),
            "-out",
            &file("crt"),
        ]);
    }
}

/// Writes a file to the cluster's data directory, readable by its server alone.
pub async fn write_data_file(cluster: &Cluster, name: &str, content: &[u8]) {
    let text: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
    // Hexadecimal, because COPY would escape line ends.
    let sql = format!(
        "COPY (SELECT '{text}') TO PROGRAM 'umask 077; perl -ne ''print pack(\"H*\", $_ =~ s/\\s//gr)'' > {name}'"
    );
    connect(&cluster.url)
        .await
        .batch_execute(&sql)
        .await
        .unwrap();
}

/// Makes the cluster's server present `NAME.crt`, and trust client certificates that `root` signed.
pub async fn serve_certificate(
    cluster: &Cluster,
    certificates: &Certificates,
    name: &str,
    root: Option<&Path>,
) {
    for end in ["crt", "key"] {
        let content = std::fs::read(certificates.path(&format!("{name}.{end}"))).unwrap();
        write_data_file(cluster, &format!("server.{end}"), &content).await;
    }
    let client = connect(&cluster.url).await;
    if let Some(root) = root {
        write_data_file(cluster, "root.crt", &std::fs::read(root).unwrap()).await;
        let trust = "ALTER SYSTEM SET ssl_ca_file = 'root.crt'";
        client.batch_execute(trust).await.unwrap();
    }
    client
        .batch_execute("ALTER SYSTEM SET ssl = on")
        .await
        .unwrap();
    reload(cluster).await;
}

/// Makes the server reload its configuration, and waits until new sessions use it.
pub async fn reload(cluster: &Cluster) {
    let client = connect(&cluster.url).await;
    client
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
}
