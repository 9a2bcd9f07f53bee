"""API keys: their hashes come from hashlib, and from the command that makes keys."""

import datetime
import os
import re
import subprocess
import time

import pytest

from checks import assert_accepted, assert_rejected
from service import BINARY, ApiKey, Service

UNKNOWN = "the API key is unknown"
OLD, NEW = ApiKey("rotated"), ApiKey("rotated", ["orders:read", "orders:write"])
PLAIN = ApiKey("warehouse-2", tenant="acme")


def utc(seconds):
    at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


EXPIRED = ApiKey("expired", expires=utc(-1))
LATER = ApiKey("later", expires=utc(3600))


@pytest.fixture(scope="module")
def service():
    keys = [OLD, NEW, PLAIN, EXPIRED, LATER]
    with Service("".join(key.entry for key in keys)) as service:
        yield service


def test_a_key_is_accepted_for_its_tenant(service):
    assert_accepted(service, service.request(PLAIN.bearer), "warehouse-2", "acme")
    assert_accepted(service, service.request(LATER.bearer), "later")


def test_two_entries_of_one_id_are_both_accepted_with_their_own_scopes(service):
    for key, created in ((OLD, 403), (NEW, 201)):
        assert_accepted(service, service.request(key.bearer), "rotated")
        assert service.create(key.bearer).status == created


def test_an_expired_key_is_rejected(service):
    assert_rejected(service, service.request(EXPIRED.bearer), "the API key has expired")


@pytest.mark.parametrize("change", [
    lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"),
    lambda key: key[:-1],
    lambda key: key + "0",
    lambda key: key.upper(),
    lambda key: key.replace("osk_", "OSK_"),
    lambda key: key.replace("warehouse-2", "warehouse-3"),
    lambda key: key.replace("warehouse-2", "rotated"),
    lambda key: key.replace("_", "-"),
    lambda key: "osk_" + key,
    lambda key: "osk_",
    lambda key: "osk__",
    lambda key: "osk_warehouse-2_",
    lambda key: "osk_warehouse-2_" + "0" * 64,
    lambda key: "osk_" + "x" * 9000,
])
def test_a_key_with_any_change_is_rejected(service, change):
    changed = change(PLAIN.credential)
    assert changed != PLAIN.credential
    is_key = changed.startswith("osk_")
    reason = UNKNOWN if is_key else "the token is malformed"
    assert_rejected(service, service.request(f"Bearer {changed}"), reason)


def test_a_key_expires_while_it_is_used():
    key = ApiKey("soon", expires=utc(3))
    with Service(key.entry) as service:
        assert service.request(key.bearer).status == 200
        statuses, until = [], time.monotonic() + 4
        while time.monotonic() < until:
            statuses.append(service.request(key.bearer).status)
            time.sleep(0.1)
        assert statuses == sorted(statuses) and set(statuses) == {200, 401}


def test_the_command_makes_keys_that_the_service_accepts():
    command = [BINARY, "api-key", "--id", "made", "--scopes", "orders:read,orders:write", "--tenant", "acme",
               "--expires", utc(3600)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AUTH_")}
    made = [subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True).stdout for _ in range(2)]
    keys = [re.search(r"osk_made_[0-9a-f]{64}\b", output)[0] for output in made]
    assert keys[0] != keys[1]
    entries = [re.search(r"\[\[api_key\]\]\n(\w+ = .*\n?)+", output)[0] for output in made]
    assert keys[0] not in entries[0]
    with Service("\n".join(entries)) as service:
        for key in keys:
            assert_accepted(service, service.request(f"Bearer {key}"), "made", "acme")
            assert service.create(f"Bearer {key}").status == 201
