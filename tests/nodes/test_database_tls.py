"""A database whose certificate is signed by a private authority: `database.tls`."""

import json
import subprocess

import kube
import operator_install
import pytest
from operator_install import Service

HOST = "order-service-postgres"
# Without `sslmode`, and so verify-full because of the certificates in `database.tls`.
URL = f"postgres://orders:dev-only@{HOST}:5432/orders"


@pytest.fixture(scope="module")
def namespace(tmp_path_factory):
    with operator_install.installed(), kube.namespace("e2e-tls") as name:
        schema = json.dumps(kube.get("crd", operator_install.RESOURCE))
        if '"caSecretRef"' not in schema:
            pytest.skip("this version of the CRD has no `database.tls`")
        directory = tmp_path_factory.mktemp("tls")
        _authority(directory, "right")
        _authority(directory, "wrong")
        _certificate(directory, "right")
        for authority in ("right", "wrong"):
            kube.kubectl("-n", name, "create", "secret", "generic", f"ca-{authority}",
                         f"--from-file=ca.crt={directory}/{authority}.crt")
        kube.kubectl("-n", name, "create", "secret", "tls", "server", f"--cert={directory}/server.crt",
                     f"--key={directory}/server.key")
        operator_install.database(name, URL)
        _enable_tls(name)
        yield name


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def _authority(directory, name):
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 1, "-subj", f"/CN={name}",
             "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", directory / f"{name}.key",
             "-out", directory / f"{name}.crt")


def _certificate(directory, authority):
    request, extensions = directory / "server.csr", directory / "extensions"
    extensions.write_text(f"subjectAltName=DNS:{HOST}\n")
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={HOST}", "-keyout", directory / "server.key",
             "-out", request)
    _openssl("x509", "-req", "-in", request, "-days", 1, "-CA", directory / f"{authority}.crt",
             "-CAkey", directory / f"{authority}.key", "-CAcreateserial", "-extfile", extensions,
             "-out", directory / "server.crt")


def _enable_tls(namespace):
    """PostgreSQL accepts a key that root owns if at most the group may read it, as in the volume of a secret."""
    options = ["ssl=on", "ssl_cert_file=/tls/tls.crt", "ssl_key_file=/tls/tls.key"]
    patch = [
        {"op": "add", "path": "/spec/template/spec/volumes/-",
         "value": {"name": "tls", "secret": {"secretName": "server", "defaultMode": 0o440}}},
        {"op": "add", "path": "/spec/template/spec/containers/0/volumeMounts/-",
         "value": {"name": "tls", "mountPath": "/tls", "readOnly": True}},
        *({"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": value}
          for option in options for value in ("-c", option)),
    ]
    kube.kubectl("-n", namespace, "patch", f"statefulset/{HOST}", "--type=json", "--patch", json.dumps(patch))
    kube.kubectl("-n", namespace, "rollout", "status", f"statefulset/{HOST}", "--timeout=120s", seconds=150)


def _database(authority):
    return {"secretRef": {"name": "orders-database"}, "tls": {"caSecretRef": {"name": f"ca-{authority}"}}}


def test_connections_are_encrypted_and_verified_with_the_private_authority(namespace):
    service = Service("orders", namespace)
    service.create(replicas=1, database=_database("right"))
    service.wait_for("Ready")
    query = ("SELECT count(*) FILTER (WHERE ssl) || ' of ' || count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
             " WHERE client_addr IS NOT NULL")
    encrypted, _, all_ = kube.kubectl("-n", namespace, "exec", f"{HOST}-0", "--", "psql", "-h", "/var/run/postgresql",
                                      "-U", "orders", "-Atc", query).split()
    assert encrypted == all_ != "0"


def test_a_certificate_of_another_authority_is_rejected(namespace):
    """The control: the certificate is verified, and the status has the reason."""
    service = Service("distrustful", namespace)
    service.create(replicas=1, database=_database("wrong"))
    migrated = service.wait_for("Migrated", "False", reason="MigrationRetrying", seconds=240)
    # The message has at most 160 characters, so the name of the certificate error may be cut off.
    assert "TLS handshake" in migrated["message"], migrated
    assert not service.deployment()
