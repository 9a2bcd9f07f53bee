"""AUTH_FILE is read again when it changes."""

import os
import subprocess
import time

import pytest

from key_server import KeyServer, send
from keys import AUDIENCE, claims, header, jwk, key_set, token
from service import BINARY, ApiKey, Service, entry, eventually

FIRST, SECOND = ApiKey("first"), ApiKey("second")
RELOADS = r'auth_file_reload_total\{outcome="%s"\}'


def put(service, text):
    new = service.file.with_suffix(".new")
    new.write_text(text)
    os.replace(new, service.file)


def status(service, key):
    return service.request(key.bearer).status


def test_a_change_is_in_force_within_ten_seconds_and_a_bad_file_changes_nothing():
    with Service(FIRST.entry) as service:
        assert (status(service, FIRST), status(service, SECOND)) == (200, 401)
        service.file.write_text(SECOND.entry)
        eventually(lambda: (status(service, FIRST), status(service, SECOND)) == (401, 200), 10)
        service.file.write_text(f"{FIRST.entry}\nunknown = 1\n# {SECOND.credential}\n")
        error = service.wait_for(lambda line: line["level"] == "ERROR", 11)
        assert "unknown" in error["error"]
        assert SECOND.credential not in service.log_file.read_text()
        assert (status(service, FIRST), status(service, SECOND)) == (401, 200)
        outcomes = service.metric(r'auth_file_reload_total\{outcome="[a-z_]+"\}')
        assert outcomes == 2
        service.file.write_text(FIRST.entry + SECOND.entry)
        eventually(lambda: (status(service, FIRST), status(service, SECOND)) == (200, 200), 10)


def test_a_file_that_disappears_changes_nothing():
    with Service(FIRST.entry) as service:
        service.file.unlink()
        service.wait_for(lambda line: line["level"] == "ERROR", 11)
        assert status(service, FIRST) == 200
        service.file.write_text(FIRST.entry + SECOND.entry)
        eventually(lambda: status(service, SECOND) == 200, 11)


def test_a_file_that_becomes_a_fifo_changes_nothing_and_the_next_file_is_read():
    with Service(FIRST.entry) as service:
        service.file.unlink()
        os.mkfifo(service.file)
        error = service.wait_for(lambda line: line["level"] == "ERROR", 11)
        assert "not a regular file" in error["error"]
        assert service.metric(RELOADS % "failure") == 1
        assert status(service, FIRST) == 200
        put(service, SECOND.entry)
        eventually(lambda: (status(service, FIRST), status(service, SECOND)) == (401, 200), 11)


def test_the_return_of_the_same_file_is_logged_once():
    def returned(line):
        return "can be read again" in line["msg"]

    with Service(FIRST.entry) as service:
        for number in (1, 2):
            service.file.rename(service.file.with_suffix(".away"))
            eventually(lambda: service.metric(RELOADS % "failure") == number, 11)
            service.file.with_suffix(".away").rename(service.file)
            eventually(lambda: sum(map(returned, service.lines())) == number, 11)
        assert service.wait_for(returned)["level"] == "INFO"
        time.sleep(6)
        assert sum(map(returned, service.lines())) == 2
        assert status(service, FIRST) == 200


def test_a_mounted_secret_is_replaced_by_its_symbolic_link():
    with Service(FIRST.entry) as service:
        folder = service.file.parent
        for number, key in enumerate((FIRST, SECOND)):
            (folder / f"..{number}").mkdir()
            (folder / f"..{number}/auth.toml").write_text(key.entry)
            link = folder / "..next"
            link.symlink_to(f"..{number}")
            os.replace(link, folder / "..data")
            if number == 0:
                service.file.unlink()
                service.file.symlink_to("..data/auth.toml")
        eventually(lambda: (status(service, FIRST), status(service, SECOND)) == (401, 200), 10)


def test_the_change_of_a_grant_does_not_need_the_issuer():
    with KeyServer() as server:
        server.routes["/keys"] = send(key_set(jwk("rsa2048", "rsa")))
        name = "https://login.example.com/"
        issuer = entry("issuer", issuer=name, audiences=[AUDIENCE], jwks_url=f"{server.url}/keys")
        bearer = f"Bearer {token(header(), claims(name, scope=...))}"
        with Service(issuer) as service:
            eventually(lambda: service.request(bearer).status == 403, 5)
            server.routes.clear()
            service.file.write_text(issuer + entry("grant", issuer=name, subject="alice", scopes=["orders:read"]))
            seen = set()

            def granted():
                seen.add(service.request(bearer).status)
                return 200 in seen

            eventually(granted, 10)
            assert seen <= {403, 200}


ISSUER = {"issuer": "https://login.example.com/", "audiences": [AUDIENCE]}
BAD_FILES = {
    "empty": "",
    "a comment only": "# nothing\n",
    "no TOML": "[[api_key",
    "an unknown field": "unknown = 1",
    "an unknown field of a key": FIRST.entry + "extra = 1\n",
    "a key twice": FIRST.entry * 2,
    "a scope that does not exist": FIRST.entry.replace("orders:read", "orders:all"),
    "no scope": FIRST.entry.replace('["orders:read"]', "[]"),
    "a bad id": FIRST.entry.replace("first", "First"),
    "a bad hash": FIRST.entry.replace('sha256 = "', 'sha256 = "0'),
    "an expiry without a time": FIRST.entry + "expires = 2027-01-01\n",
    "a bad tenant": FIRST.entry + 'tenant = "ACME"\n',
    "three keys of one id": "".join(ApiKey("three").entry for _ in range(3)),
    "no audience": entry("issuer", issuer="https://a/", audiences=[]),
    "discovery without TLS": entry("issuer", issuer="http://a/", audiences=[AUDIENCE]),
    "a URL and a file": entry("issuer", jwks_url="https://a/", jwks_file="/a", **ISSUER),
    "a bar in the issuer": entry("issuer", issuer="https://a|b/", audiences=[AUDIENCE]),
    "a password in a URL": entry("issuer", jwks_url="https://user:password@a/", **ISSUER),
    "a token for any server that discovery names": entry("issuer", token_file="/token", **ISSUER),
    "an issuer twice": entry("issuer", **ISSUER) * 2,
    "a claim that is no pointer": entry("issuer", principal_claim="sub", **ISSUER),
    "no type": entry("issuer", token_types=[], **ISSUER),
    "a grant without its issuer": entry("grant", issuer="https://a/", subject="s", scopes=["admin"]),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_stops_the_start(name, tmp_path):
    file = tmp_path / "auth.toml"
    file.write_text(BAD_FILES[name])
    environment = os.environ | {"AUTH_FILE": str(file), "DATABASE_URL": "sqlite::memory:", "BIND_ADDRESS": "127.0.0.1:0",
                                "METRICS_ADDRESS": "127.0.0.1:0"}
    done = subprocess.run([BINARY], env=environment, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2, done.stderr
    assert "AUTH_FILE" in done.stderr and "password@" not in done.stderr
