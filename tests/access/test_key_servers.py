"""Where key sets come from: discovery, URLs, private authorities, and servers that misbehave."""

import contextlib
import os
import time

import pytest

from checks import assert_accepted, assert_keys_unavailable, assert_rejected
from key_server import KeyServer, authority, drip, endless, send, slow, status
from keys import AUDIENCE, claims, header, jwk, key_set, token
from service import ApiKey, Service, entry, eventually

KEYS = key_set(jwk("rsa2048", "rsa"))
API_KEY = ApiKey("other")


def issuer(name, **fields):
    return entry("issuer", issuer=name, audiences=[AUDIENCE], **fields)


def bearer(name, **changes):
    return f"Bearer {token(header(), claims(name, **changes))}"


def large_set():
    return {"keys": KEYS["keys"], "padding": "x" * 256 * 1024}


# From a name to the behaviour of the server.
BAD_SERVERS = {
    "huge": send(large_set()),
    "endless": endless,
    "missing": status(404),
    "failing": send(KEYS, 500),
    "created": send(KEYS, 201),
    "garbage": send(b"<html>"),
    "bytes": send(b"\xff\xfe"),
    "array": send(KEYS["keys"]),
    "empty": send({"keys": []}),
    "weak": send(key_set(jwk("rsa1024", "rsa"))),
    "symmetric": send({"keys": [{"kty": "oct", "kid": "rsa", "k": "c2VjcmV0"}]}),
    "slow": slow(20, send(KEYS)),
    "dripping": drip(b'{"keys":[' + b" " * 1000, 0.05),
    "truncated": send(KEYS, Content_Length="100000"),
}
REDIRECTS = {f"redirect-{code}": code for code in (301, 302, 303, 307, 308)}


@pytest.fixture(scope="module")
def bad():
    """A service of which no issuer has keys."""
    with KeyServer() as server:
        for name, route in BAD_SERVERS.items():
            server.routes[f"/{name}"] = route
        for name, code in REDIRECTS.items():
            server.routes[f"/{name}"] = send(b"", code, Location=f"{server.url}/good")
        server.routes["/good"] = send(KEYS)
        names = [*BAD_SERVERS, *REDIRECTS]
        issuers = [issuer(f"https://{name}/", jwks_url=f"{server.url}/{name}") for name in names]
        issuers.append(issuer("https://gone/", jwks_url="http://127.0.0.1:1/keys"))
        issuers.append(issuer("https://no-file/", jwks_file="/nonexistent/jwks.json"))
        with Service("".join(issuers) + API_KEY.entry) as service:
            service.key_server = server
            yield service


@pytest.mark.parametrize("name", [*BAD_SERVERS, *REDIRECTS, "gone", "no-file"])
def test_without_keys_tokens_get_503_and_api_keys_work(bad, name):
    began = time.monotonic()
    assert_keys_unavailable(bad.request(bearer(f"https://{name}/")))
    # The request waits for one attempt, which has 5 s, and not until its own deadline.
    assert time.monotonic() - began < 7
    assert bad.request(API_KEY.bearer).status == 200
    assert bad.request(path="/readyz").status == 200
    if name in REDIRECTS:
        assert bad.key_server.times("/good") == []


def test_a_file_of_keys_that_is_a_fifo_does_not_keep_the_process_from_exiting(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    name = "https://fifo/"
    with Service(issuer(name, jwks_file=str(fifo))) as service:
        assert_keys_unavailable(service.request(bearer(name)))
        line = service.wait_for(lambda line: line.get("issuer") == name)
        assert "not a regular file" in line["error"]
        began = time.monotonic()
    assert time.monotonic() - began < 5


def test_a_key_that_a_set_has_twice_verifies_tokens():
    with KeyServer() as server:
        server.routes["/keys"] = send({"keys": KEYS["keys"] * 2})
        name = "https://twice/"
        with Service(issuer(name, jwks_url=f"{server.url}/keys")) as service:
            assert_accepted(service, service.request(bearer(name)), f"{name}|alice")


def test_a_slow_issuer_is_no_timeout_of_the_request():
    with KeyServer() as server:
        server.routes["/keys"] = slow(4, send(KEYS))
        name = "https://slow/"
        with Service(issuer(name, jwks_url=f"{server.url}/keys"), REQUEST_TIMEOUT="1s") as service:
            began = time.monotonic()
            assert_keys_unavailable(service.request(bearer(name)))
            assert 0.5 < time.monotonic() - began < 3
            # Later its keys are there.
            eventually(lambda: service.request(bearer(name)).status == 200, 10)


def test_requests_share_one_fetch_and_wait_for_it():
    with KeyServer() as server:
        server.routes["/keys"] = slow(1, send(KEYS))
        name = "https://login/"
        with Service(issuer(name, jwks_url=f"{server.url}/keys")) as service, contextlib.ExitStack() as stack:
            connections = [stack.enter_context(service.connect()) for _ in range(50)]
            for connection in connections:
                connection.request("GET", "/api/v1/orders", headers={"Authorization": bearer(name)})
            assert {connection.getresponse().status for connection in connections} == {200}
        assert len(server.times("/keys")) == 1


def test_an_error_names_the_url_without_its_query():
    with KeyServer() as server:
        name = "https://login/"
        with Service(issuer(name, jwks_url=f"{server.url}/keys?secret=hunter2")) as service:
            assert_keys_unavailable(service.request(bearer(name)))
            line = service.wait_for(lambda line: line.get("issuer") == name)
            assert f"{server.url}/keys" in line["error"] and "404" in line["error"]
            assert "hunter2" not in service.log_file.read_text()


@pytest.mark.parametrize(("path", "slash"), [("", ""), ("", "/"), ("/realms/shop", ""), ("/realms/shop", "/")])
def test_discovery_finds_the_keys(path, slash):
    with KeyServer() as server:
        name = server.url + path + slash
        document = {"issuer": name, "jwks_uri": f"{server.url}/keys", "extra": 1}
        server.routes[f"{path}/.well-known/openid-configuration"] = send(document)
        server.routes["/keys"] = send(KEYS)
        with Service(issuer(name)) as service:
            assert_accepted(service, service.request(bearer(name)), f"{name}|alice")


@pytest.mark.parametrize("change", [
    lambda name, url: {"issuer": name + "/", "jwks_uri": f"{url}/keys"},
    lambda name, url: {"issuer": "https://evil.example.com", "jwks_uri": f"{url}/keys"},
    lambda name, url: {"jwks_uri": f"{url}/keys"},
    lambda name, url: {"issuer": name},
    lambda name, url: {"issuer": name, "jwks_uri": "file:///etc/passwd"},
    lambda name, url: {"issuer": name, "jwks_uri": "http://192.0.2.1/keys"},
    lambda name, url: {"issuer": name, "jwks_uri": "/keys"},
])
def test_a_discovery_document_that_does_not_fit_is_not_followed(change):
    with KeyServer() as server:
        server.routes["/.well-known/openid-configuration"] = send(change(server.url, server.url))
        server.routes["/keys"] = send(KEYS)
        with Service(issuer(server.url)) as service:
            assert_keys_unavailable(service.request(bearer(server.url)))
        assert server.times("/keys") == []


def test_with_a_url_of_the_keys_discovery_is_never_followed():
    with KeyServer() as server:
        server.routes["/.well-known/openid-configuration"] = send(
            {"issuer": server.url, "jwks_uri": f"{server.url}/evil"})
        server.routes["/evil"] = send(key_set(jwk("rsa2048/stranger", "rsa")))
        server.routes["/keys"] = send(KEYS)
        with Service(issuer(server.url, jwks_url=f"{server.url}/keys")) as service:
            assert_accepted(service, service.request(bearer(server.url)), f"{server.url}|alice")
            forged = token(header(), claims(server.url), "rsa2048/stranger")
            assert_rejected(service, service.request(f"Bearer {forged}"), "the token's signature is wrong")
        assert {path for _, path, _ in server.requests} == {"/keys"}


def test_a_private_authority_is_trusted_where_it_is_named(tmp_path):
    authority(tmp_path)
    with KeyServer(tmp_path / "server.pem") as server, KeyServer(tmp_path / "other.pem") as other:
        for each in (server, other):
            each.routes["/keys"] = send(KEYS)
        ca = str(tmp_path / "ca.pem")
        issuers = [issuer("https://trusted/", jwks_url=f"{server.url}/keys", ca_file=ca),
                   issuer("https://untrusted/", jwks_url=f"{server.url}/keys"),
                   issuer("https://other-name/", jwks_url=f"{other.url}/keys", ca_file=ca),
                   issuer("https://no-ca/", jwks_url=f"{server.url}/keys", ca_file="/nonexistent/ca.pem")]
        with Service("".join(issuers)) as service:
            assert_accepted(service, service.request(bearer("https://trusted/")), "https://trusted/|alice")
            for name in ("https://untrusted/", "https://other-name/", "https://no-ca/"):
                assert_keys_unavailable(service.request(bearer(name)))
        assert len(server.times("/keys")) == 1 and other.times("/keys") == []


def test_the_token_file_authenticates_the_service_at_the_key_server(tmp_path):
    file = tmp_path / "token"
    file.write_text("projected-token\n")
    with KeyServer() as server:
        def guarded(handler):
            known = handler.headers["Authorization"] == "Bearer projected-token"
            (send(KEYS) if known else status(401))(handler)

        server.routes["/openid/v1/jwks"] = guarded
        url = f"{server.url}/openid/v1/jwks"
        with Service(issuer("https://with/", jwks_url=url, token_file=str(file))
                     + issuer("https://without/", jwks_url=url)) as service:
            assert_accepted(service, service.request(bearer("https://with/")), "https://with/|alice")
            assert_keys_unavailable(service.request(bearer("https://without/")))
            assert "projected-token" not in service.log_file.read_text()
