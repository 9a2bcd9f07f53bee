"""What responses to good and bad credentials look like."""

import time

# The record of rejected credentials is limited to 20 lines a second.
AUDIT_INTERVAL = 0.06
REALM = 'Bearer realm="order-service"'


def assert_accepted(service, response, principal, tenant="default"):
    assert response.status in (200, 201), response.body
    line = service.access_line(response)
    assert (line["principal"], line["tenant"]) == (principal, tenant)


def assert_rejected(service, response, reason, challenge=f'{REALM}, error="invalid_token"'):
    """401 with a challenge, and the reason in the log but not in the response."""
    assert (response.status, response.kind()) == (401, "unauthenticated"), response.body
    assert response.headers.get_all("WWW-Authenticate") == [challenge]
    assert service.audit(response)["reason"] == reason
    assert reason not in response.body.decode()
    time.sleep(AUDIT_INTERVAL)


def assert_forbidden(response, scope):
    assert (response.status, response.kind()) == (403, "forbidden"), response.body
    challenge = f'{REALM}, error="insufficient_scope", scope="{scope}"'
    assert response.headers.get_all("WWW-Authenticate") == [challenge]


def assert_keys_unavailable(response):
    assert (response.status, response.kind()) == (503, "keys-unavailable"), response.body
    assert int(response.headers["Retry-After"]) >= 1
