"""Scopes, tenants, grants, and the Authorization header."""

import json

import pytest

from checks import REALM, assert_accepted, assert_forbidden, assert_rejected
from keys import AUDIENCE, claims, header, jwk, key_set, token
from service import ORDERS, ApiKey, Service, entry

ISSUER = "https://login.example.com/"
POINTED = "https://pointed.example.com/"
CLUSTER = "https://kubernetes.default.svc"
CHECKOUT = "system:serviceaccount:shop:checkout"
READER = ApiKey("reader", ["orders:read"])
ALL = ["orders:read", "orders:write", "events:read", "admin"]
KEYS = {scope: ApiKey(f"only-{number}", [scope]) for number, scope in enumerate(ALL)}
ACME = ApiKey("acme", ALL, tenant="acme")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "jwks.json"
    file.write_text(json.dumps(key_set(jwk("rsa2048", "rsa"))))
    common = {"audiences": [AUDIENCE], "jwks_file": str(file)}
    issuers = [
        entry("issuer", issuer=ISSUER, **common),
        entry("issuer", issuer=POINTED, principal_claim="/user/e~1mail~0", scopes_claim="/realm/roles/0/names",
              tenant_claim="/org/id", **common),
        entry("issuer", issuer=CLUSTER, token_types=["none"], **common),
        entry("grant", issuer=CLUSTER, subject=CHECKOUT, scopes=["orders:read"], tenant="acme"),
        entry("grant", issuer=ISSUER, subject="alice", scopes=["admin"], tenant="granted"),
    ]
    keys = [key.entry for key in (READER, ACME, *KEYS.values())]
    with Service("".join(issuers + keys)) as service:
        yield service


def bearer(head, body):
    return f"Bearer {token(head, body)}"


@pytest.mark.parametrize(("method", "path", "scope"), [
    ("GET", ORDERS, "orders:read"),
    ("HEAD", ORDERS, "orders:read"),
    ("GET", f"{ORDERS}/00000000-0000-0000-0000-000000000001", "orders:read"),
    ("POST", ORDERS, "orders:write"),
    ("POST", f"{ORDERS}/batch", "orders:write"),
    ("PATCH", f"{ORDERS}/00000000-0000-0000-0000-000000000001", "orders:write"),
    ("GET", f"{ORDERS}/00000000-0000-0000-0000-000000000001/events", "events:read"),
    ("GET", "/api/v1/events", "events:read"),
])
def test_each_route_needs_its_scope_and_no_other(service, method, path, scope):
    for given, key in KEYS.items():
        response = service.request(key.bearer, method=method, path=path)
        if given == scope:
            assert response.status not in (401, 403), response.body
        elif method == "HEAD":
            assert response.status == 403
        else:
            assert_forbidden(response, scope)
        from_token = bearer(header(), claims(ISSUER, scope=given))
        assert service.request(from_token, method=method, path=path).status == response.status


@pytest.mark.parametrize("scope", [
    "orders:read", "openid orders:read", ["orders:read"], ["openid", "orders:read"],
])
def test_scopes_are_a_text_or_an_array(service, scope):
    response = service.request(bearer(header(), claims(ISSUER, scope=scope)))
    assert_accepted(service, response, f"{ISSUER}|alice")


@pytest.mark.parametrize("scope", [
    "", [], "ORDERS:READ", "orders", "orders:*", "orders:read,orders:write", ["orders:read orders:write"], "\torders:read",
])
def test_a_text_that_is_no_scope_grants_nothing(service, scope):
    assert_forbidden(service.request(bearer(header(), claims(ISSUER, scope=scope))), "orders:read")


def test_a_grant_is_for_tokens_without_the_scopes_claim(service):
    body = claims(CLUSTER, sub=CHECKOUT, scope=..., **{"kubernetes.io": {"namespace": "shop"}})
    response = service.request(bearer(header(typ=...), body))
    assert_accepted(service, response, f"{CLUSTER}|{CHECKOUT}", "acme")
    assert_forbidden(service.create(bearer(header(typ=...), body)), "orders:write")
    # A token with the claim has exactly what that says.
    for scope in ("", "events:read"):
        assert_forbidden(service.request(bearer(header(typ=...), body | {"scope": scope})), "orders:read")
    response = service.request(bearer(header(), claims(ISSUER, scope="orders:read")))
    assert_accepted(service, response, f"{ISSUER}|alice", "default")
    # The grant of one issuer is not that of another, and neither is that of another subject.
    for other in (claims(ISSUER, sub=CHECKOUT, scope=...), claims(POINTED, sub=CHECKOUT, scope=..., org={"id": "acme"},
                                                                 user={"e/mail~": CHECKOUT})):
        assert_forbidden(service.request(bearer(header(), other)), "orders:read")
    assert_forbidden(service.request(bearer(header(typ=...), body | {"sub": CHECKOUT + "2"})), "orders:read")


def pointed(**changes):
    body = claims(POINTED, sub=..., scope=..., org={"id": "acme"}, user={"e/mail~": "u-1"},
                  realm={"roles": [{"names": ["orders:read"]}]})
    return {name: value for name, value in (body | changes).items() if value is not ...}


def test_claims_are_found_by_json_pointers(service):
    assert_accepted(service, service.request(bearer(header(), pointed())), f"{POINTED}|u-1", "acme")


@pytest.mark.parametrize("org", [..., {}, "acme", {"id": None}, {"id": 7}, {"id": ""}, {"id": "Acme"}, {"id": "a" * 65},
                                 {"id": "a/b"}, {"id": "acme\n"}])
def test_a_token_without_the_tenant_that_its_issuer_names_is_forbidden(service, org):
    response = service.request(bearer(header(), pointed(org=org)))
    assert (response.status, response.kind()) == (403, "forbidden"), response.body


def test_the_claims_of_another_issuer_do_not_count(service):
    body = pointed(user=..., sub="alice")
    assert_rejected(service, service.request(bearer(header(), body)), "a claim of the token is missing or has a bad value")


def test_no_credential_is_401_without_an_error(service):
    response = service.request()
    assert (response.status, response.kind()) == (401, "unauthenticated")
    assert response.headers.get_all("WWW-Authenticate") == [REALM]


@pytest.mark.parametrize("value", ["Basic YTpi", "Bearer", "Bearer ", "Bearer a b", "Digest x", "", "Bearera", "Bearer\ta",
                                   "Bearer \xe4", 'Bearer "a"', "Bearer a,b"])
def test_another_form_of_the_header_is_401(service, value):
    response = service.request(value)
    assert (response.status, response.kind()) == (401, "unauthenticated"), response.body
    assert response.headers["WWW-Authenticate"].startswith(REALM)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_ignores_case(service, scheme):
    assert_accepted(service, service.request(f"{scheme} {READER.credential}"), "reader")


def test_two_authorization_headers_are_malformed(service):
    for values in ([READER.bearer, READER.bearer], [READER.bearer, "Bearer x"], ["Basic YTpi", READER.bearer]):
        response = service.request(*values)
        assert (response.status, response.kind()) == (400, "malformed-request"), response.body


@pytest.mark.parametrize("place", ["query", "cookie", "body"])
def test_a_credential_in_another_place_does_not_count(service, place):
    path = f"{ORDERS}?access_token={READER.credential}" if place == "query" else ORDERS
    headers = {"Cookie": f"Authorization={READER.credential}"} if place == "cookie" else {}
    body = f"access_token={READER.credential}" if place == "body" else None
    with service.connect() as connection:
        connection.request("GET", path, body, headers)
        assert connection.getresponse().status == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/docs", "/"])
def test_open_routes_ignore_credentials(service, path):
    statuses = {service.request(*values, path=path).status for values in ([], ["Bearer x"], ["Basic YTpi"])}
    assert len(statuses) == 1 and statuses.isdisjoint({400, 401, 403}), statuses


def test_a_path_that_does_not_exist_is_no_secret(service):
    assert service.request(READER.bearer, path="/nothing").status == 404


def test_tenants_see_nothing_of_each_other(service):
    created = service.create(ACME.bearer)
    assert created.status == 201
    path = created.headers["Location"]
    assert service.request(ACME.bearer, path=path).status == 200
    other = service.request(READER.bearer, path=path)
    assert (other.status, other.kind()) == (404, "not-found")
    assert path.rsplit("/", 1)[1] not in service.request(READER.bearer).body.decode()
    assert path.rsplit("/", 1)[1] in service.request(ACME.bearer).body.decode()
