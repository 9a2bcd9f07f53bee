"""Who may call: the secret with the credentials, and the condition Secured."""

import pytest
from cluster import never, until

# Secrets are read at each reconcile and not watched.
OFTEN = {"RESYNC_PERIOD": "5s"}


@pytest.fixture(scope="module", autouse=True)
def operator(sandbox):
    return sandbox.start(environment=OFTEN)


def template(sandbox, name):
    return sandbox.get("Deployment", name)["spec"]["template"]


def variables(sandbox, name):
    [container] = template(sandbox, name)["spec"]["containers"]
    return {e["name"]: e["value"] for e in container["env"] if e["name"].startswith("AUTH_")}


def test_without_auth_it_works_and_is_not_secured(sandbox):
    sandbox.running("open")
    assert variables(sandbox, "open") == {"AUTH_ANONYMOUS": "all"}
    sandbox.wait_for("open", "Secured", "False", "AuthNotConfigured")


def test_auth_is_added_and_opened_again(sandbox):
    sandbox.running("growing")
    sandbox.auth_secret("growing-auth")
    sandbox.change("growing", auth={"secretRef": {"name": "growing-auth"}})
    sandbox.wait_for("growing", "Secured", "True", "CredentialsRequired", seconds=90)
    assert list(variables(sandbox, "growing")) == ["AUTH_FILE"]
    until("an event was published", lambda: sandbox.events("growing", "Secured"))
    sandbox.change("growing", auth={"anonymous": ["all"]})
    sandbox.wait_for("growing", "Secured", "False", "AnonymousAll")
    [event] = until("an event was published", lambda: sandbox.events("growing", "NotSecured"))
    assert event["type"] == "Warning"


def test_a_missing_secret_is_waited_for(sandbox):
    sandbox.secret()
    sandbox.cluster.create(sandbox.order_service("waiting", auth={"secretRef": {"name": "not-yet-auth"}}))
    waiting = sandbox.wait_for("waiting", "Ready", "False", "SecretNotFound")
    assert "not-yet-auth" in waiting["message"], waiting
    assert sandbox.get("Deployment", "waiting") is None
    sandbox.auth_secret("not-yet-auth")
    sandbox.wait_for("waiting", "Secured", seconds=90)


def test_changed_keys_roll_no_pods(sandbox):
    sandbox.auth_secret("keys")
    sandbox.running("steady", auth={"secretRef": {"name": "keys"}})
    before = template(sandbox, "steady")
    sandbox.auth_secret("keys", identity="another")
    never("the pods roll", lambda: template(sandbox, "steady") != before, 12)
