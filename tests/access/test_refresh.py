"""Key sets over time: rotation, floods of unknown keys, and issuers that go and come."""

import threading
import time
import uuid

import pytest

from checks import assert_keys_unavailable
from key_server import KeyServer, send, status
from keys import AUDIENCE, base64url, claims, header, jwk, key_set, text, token
from service import Service, entry, eventually

pytestmark = pytest.mark.slow
NAME = "https://login.example.com/"
INTERVAL = 30
ONE, TWO = jwk("rsa2048", "one"), jwk("p256", "two")


def bearer_one(**changes):
    return f"Bearer {token(header(kid='one'), claims(NAME, **changes))}"


def bearer_two(**changes):
    return f"Bearer {token(header('ES256', 'two'), claims(NAME, **changes), 'p256')}"


@pytest.fixture
def server():
    with KeyServer() as server:
        server.routes["/keys"] = send(key_set(ONE))
        yield server


def service_for(server, **settings):
    return Service(entry("issuer", issuer=NAME, audiences=[AUDIENCE], jwks_url=f"{server.url}/keys"), **settings)


class Load:
    """Threads that each send requests with a new token, and collect the statuses."""

    def __init__(self, service, bearer, threads=2, pause=0.02):
        self.service, self.bearer, self.pause = service, bearer, pause
        self.statuses, self.stopped = {}, threading.Event()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(threads)]

    def run(self):
        with self.service.connect() as connection:
            while not self.stopped.is_set():
                status = self.service.request(self.bearer(), connection=connection).status
                self.statuses[status] = self.statuses.get(status, 0) + 1
                time.sleep(self.pause)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()


def unique(bearer):
    """New tokens, so that none is found in a cache."""
    return lambda: bearer(jti=str(uuid.uuid4()))


def wait_for_interval(server):
    time.sleep(max(0, server.times("/keys")[-1] + INTERVAL + 1 - time.monotonic()))


def test_keys_are_rotated_under_load_without_a_rejected_token(server):
    with service_for(server) as service, Load(service, unique(bearer_one)) as one:
        eventually(lambda: one.statuses.get(200, 0) > 10, 10)
        wait_for_interval(server)
        # The issuer begins to use a key that the service has not seen.
        server.routes["/keys"] = send(key_set(ONE, TWO))
        with Load(service, unique(bearer_two), threads=8, pause=0) as two:
            eventually(lambda: two.statuses.get(200, 0) > 200, 10)
            # It stops to publish the old one; tokens with it are still about.
            server.routes["/keys"] = send(key_set(TWO))
            time.sleep(1)
    assert set(two.statuses) == {200}, two.statuses
    assert set(one.statuses) == {200}, one.statuses
    assert len(server.times("/keys")) == 2


def test_unknown_keys_cause_one_fetch_in_thirty_seconds_and_lock_nobody_out(server):
    claims_part = base64url(text(claims(NAME)).encode())
    count = [0]

    def random_kid():
        count[0] += 1
        head = base64url(text(header(kid=str(uuid.uuid4()))).encode())
        return f"Bearer {head}.{claims_part}.{base64url(b'x' * 256)}"

    with service_for(server) as service, Load(service, unique(bearer_one)) as good:
        eventually(lambda: good.statuses.get(200, 0) > 0, 10)
        began = time.monotonic()
        with Load(service, random_kid, threads=6, pause=0) as flood:
            eventually(lambda: count[0] > 10_000 and time.monotonic() > began + INTERVAL + 3, 80)
    lasted = time.monotonic() - began
    assert set(flood.statuses) == {401}, flood.statuses
    assert set(good.statuses) == {200}, good.statuses
    times = server.times("/keys")
    assert all(later - earlier > INTERVAL - 1 for earlier, later in zip(times, times[1:]))
    # One at the start, and one for all the unknown keys of each interval.
    assert 2 <= len(times) <= 2 + lasted // INTERVAL


def test_a_failed_fetch_keeps_the_last_good_set(server):
    with service_for(server) as service:
        eventually(lambda: service.request(bearer_one()).status == 200, 10)
        wait_for_interval(server)
        server.routes["/keys"] = send({"keys": []})
        # An unknown key causes a fetch, which fails.
        assert service.request(bearer_two()).status == 401
        assert len(server.times("/keys")) == 2
        assert service.request(bearer_one(jti="new")).status == 200
        assert service.metric(rf'auth_key_set_age_seconds\{{issuer="{NAME}"\}}') > INTERVAL
        # Attempts go on.
        server.routes["/keys"] = send(key_set(ONE, TWO))
        eventually(lambda: service.request(bearer_two()).status == 200, INTERVAL + 5)
        assert service.metric(rf'auth_key_set_age_seconds\{{issuer="{NAME}"\}}') < INTERVAL


def test_readiness_fails_only_until_the_first_success(server):
    server.routes["/keys"] = status(500)
    with service_for(server) as service:
        unready = service.request(path="/readyz")
        assert (unready.status, unready.kind()) == (503, "unavailable")
        assert_keys_unavailable(service.request(bearer_one()))
        assert service.request(path="/healthz").status == 200
        server.routes["/keys"] = send(key_set(ONE))
        eventually(lambda: service.request(path="/readyz").status == 200, INTERVAL + 5)
        assert service.request(bearer_one()).status == 200
        server.routes["/keys"] = status(500)
        wait_for_interval(server)
        assert service.request(bearer_two()).status == 401
        time.sleep(1.5)
        assert service.request(path="/readyz").status == 200
        # Nor does it fail when the issuer moves to a server without keys.
        moved = f"{server.url}/moved"
        service.file.write_text(entry("issuer", issuer=NAME, audiences=[AUDIENCE], jwks_url=moved))
        eventually(lambda: service.request(bearer_one()).status == 503, 11)
        time.sleep(1.5)
        assert service.request(path="/readyz").status == 200


@pytest.mark.parametrize("cache_control", ["max-age=0", "public, Max-Age=31"])
def test_cache_control_shortens_the_refresh_to_thirty_seconds_at_least(server, cache_control):
    server.routes["/keys"] = send(key_set(ONE), Cache_Control=cache_control)
    with service_for(server) as service:
        eventually(lambda: service.request(bearer_one()).status == 200, 10)
        server.routes["/keys"] = send(key_set(TWO))
        eventually(lambda: service.request(bearer_one()).status == 401, INTERVAL + 5)
        assert service.request(bearer_two()).status == 200
        first, second = server.times("/keys")
        assert INTERVAL - 1 < second - first < INTERVAL + 4


def test_a_file_of_keys_is_read_again_for_an_unknown_key(tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(text(key_set(ONE)))
    with Service(entry("issuer", issuer=NAME, audiences=[AUDIENCE], jwks_file=str(file))) as service:
        assert service.request(bearer_one()).status == 200
        file.write_text(text(key_set(TWO)))
        eventually(lambda: service.request(bearer_two()).status == 200, INTERVAL + 5)
        assert service.request(bearer_one()).status == 401
