"""Which tokens are accepted. PyJWT signs them, and agrees."""

import functools
import json
import time
import warnings

import jwt
import pytest

from checks import assert_accepted, assert_rejected
from key_server import KeyServer, send
from keys import (
    ALGORITHMS, AUDIENCE, base64url, claims, header, hmac_with, jwk, key_set, private_key, public_pem, token,
)
from service import Service, entry

ISSUER = "https://login.example.com/realms/shop"
UNTYPED = "https://kubernetes.default.svc"
SIGNERS = {"RS256": "rsa2048", "PS256": "rsa2048", "ES256": "p256", "ES384": "p384", "EdDSA": "ed25519"}
KEYS = key_set(
    jwk("rsa2048", "rsa"),
    jwk("rsa2048/pss", "pss-only", alg="PS256"),
    jwk("rsa3072", "encryption", use="enc"),
    jwk("rsa1024", "weak"),
    jwk("p256", "p256", use="sig"),
    jwk("p256/b", "p256-b"),
    jwk("p384", "p384", alg="ES384"),
    jwk("p521", "p521"),
    jwk("ed25519", "ed25519"),
    {"kty": "oct", "kid": "symmetric", "alg": "HS256", "k": base64url(b"secret" * 8)},
)
KIDS = {"RS256": "rsa", "PS256": "rsa", "ES256": "p256", "ES384": "p384", "EdDSA": "ed25519"}


@pytest.fixture(scope="module")
def stranger():
    """A server of keys that no token may make the service ask."""
    with KeyServer() as server:
        server.routes["/jwks"] = send(key_set(jwk("rsa2048/stranger", "rsa")))
        yield server


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "jwks.json"
    file.write_text(json.dumps(KEYS))
    issuers = [entry("issuer", issuer=ISSUER, audiences=[AUDIENCE, "orders"], jwks_file=str(file)),
               entry("issuer", issuer=UNTYPED, audiences=[AUDIENCE], jwks_file=str(file), token_types=["none"])]
    with Service("".join(issuers)) as service:
        yield service


def good(issuer=ISSUER, **changes):
    """The claims of a good token, at the time of the test."""
    return claims(issuer, **changes)


def seconds(offset):
    return time.time() + offset


def padded(length):
    """A good token of exactly that many bytes."""
    # Base64 has no text of length 1 modulo 4, so the header has to vary as well.
    for header_pad in range(3):
        made = functools.partial(token, header(x="x" * header_pad))
        estimate = (length - len(made(good(pad="")))) * 3 // 4
        for pad in range(estimate - 4, estimate + 4):
            if len(padded := made(good(pad="x" * pad))) == length:
                return padded
    raise AssertionError(f"no token has {length} bytes")


ACCEPTED = {
    "one audience of several": lambda: token(header(), good(aud=["x", AUDIENCE])),
    "the other audience": lambda: token(header(), good(aud="orders")),
    "exp with a fraction": lambda: token(header(), good(exp=seconds(10.5))),
    "expired within the leeway": lambda: token(header(), good(exp=int(seconds(-50)))),
    "nbf within the leeway": lambda: token(header(), good(nbf=int(seconds(50)))),
    "iat in the future": lambda: token(header(), good(iat=int(seconds(1000)))),
    "typ with the prefix": lambda: token(header(typ="application/at+jwt"), good()),
    "typ in another case": lambda: token(header(typ="Application/AT+JWT"), good()),
    "no typ where none is wanted": lambda: token(header(typ=...), good(UNTYPED)),
    "no kid and one key that fits": lambda: token(header("ES384", kid=...), good(), "p384"),
    "an unknown header": lambda: token(header(x=1, cty="text"), good()),
    "8 KiB": lambda: padded(8192),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_is_accepted(service, algorithm):
    key = private_key(SIGNERS[algorithm])
    made = jwt.encode(good(), key, algorithm, headers={"kid": KIDS[algorithm], "typ": "at+jwt"})
    jwt.decode(made, key.public_key(), [algorithm], audience=AUDIENCE, issuer=ISSUER)
    assert_accepted(service, service.request(f"Bearer {made}"), f"{ISSUER}|alice")


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_good_token_is_accepted(service, name):
    made = ACCEPTED[name]()
    issuer = jwt.decode(made, options={"verify_signature": False})["iss"]
    assert_accepted(service, service.request(f"Bearer {made}"), f"{issuer}|alice")


MALFORMED = "the token is malformed"
ALGORITHM = "the token's algorithm is not accepted"
CRITICAL = "the token has a critical header that is not understood"
TYPE = "the token's type is not accepted"
WRONG_ISSUER = "the token's issuer is unknown"
KEY = "no key of the issuer fits the token"
SIGNATURE = "the token's signature is wrong"
WRONG_AUDIENCE = "the token's audience is another one"
EXPIRED = "the token has expired"
EARLY = "the token is not valid yet"
CLAIM = "a claim of the token is missing or has a bad value"


def raw(member, **changes):
    """Claims as JSON text, with one more member."""
    return "{" + member + "," + json.dumps(good(**changes))[1:]


def hostile_headers():
    """A token of a stranger that brings its own key."""
    own = jwk("rsa2048/stranger", "rsa")
    return [header(jwk=own), header(x5c=["MIIB"]), header(jku="{stranger}/jwks"), header(x5u="{stranger}/jwks")]


HOSTILE = {
    # Algorithms.
    "HMAC with the public key as PEM": (ALGORITHM, lambda: token(
        header("HS256"), good(), sign=hmac_with(public_pem("rsa2048")))),
    "HMAC with the key of the key set": (ALGORITHM, lambda: token(
        header("HS256", "symmetric"), good(), sign=hmac_with(b"secret" * 8))),
    "HMAC that says RS256": (SIGNATURE, lambda: token(
        header(), good(), sign=hmac_with(public_pem("rsa2048")))),
    "RS256 with a symmetric key": (KEY, lambda: token(header(kid="symmetric"), good())),
    "none": (ALGORITHM, lambda: token(header("none"), good(), sign=lambda _: b"")),
    "None": (ALGORITHM, lambda: token(header("None"), good(), sign=lambda _: b"")),
    "no algorithm": (MALFORMED, lambda: token(header(alg=...), good(), sign=lambda _: b"")),
    "no signature": (SIGNATURE, lambda: token(header(), good(), sign=lambda _: b"")),
    "RS384": (ALGORITHM, lambda: token(header("RS384"), good())),
    "ES512": (ALGORITHM, lambda: token(header("ES512", "p521"), good(), "p521")),
    "an elliptic curve that is not supported": (KEY, lambda: token(header("ES256", "p521"), good(), "p521", "ES512")),
    "an RSA key for ES256": (KEY, lambda: token(header("ES256"), good(), "p256")),
    "P-256 for ES384": (KEY, lambda: token(header("ES384", "p256"), good(), "p384")),
    "P-384 for ES256": (KEY, lambda: token(header("ES256", "p384"), good(), "p256")),
    "Ed25519 for RS256": (KEY, lambda: token(header("RS256", "ed25519"), good())),
    "a key with alg PS256 for RS256": (KEY, lambda: token(header("RS256", "pss-only"), good(), "rsa2048/pss")),
    "a key for encryption": (KEY, lambda: token(header("RS256", "encryption"), good(), "rsa3072")),
    "PS256 that says RS256": (SIGNATURE, lambda: token(header("RS256"), good(), algorithm="PS256")),
    "RSA with 1024 bits": (KEY, lambda: token(header(kid="weak"), good(), "rsa1024")),
    # Keys.
    "another key": (SIGNATURE, lambda: token(header(), good(), "rsa2048/stranger")),
    "another kid": (KEY, lambda: token(header(kid="unknown"), good())),
    "a kid that is no text": (MALFORMED, lambda: token(header(kid=7), good())),
    "a kid that is null": (MALFORMED, lambda: token(header(kid=None), good())),
    "a kid that is a path": (KEY, lambda: token(header(kid="../../../etc/passwd"), good())),
    "no kid and two keys that fit": (KEY, lambda: token(header("ES256", kid=...), good(), "p256")),
    # Forms.
    "crit": (CRITICAL, lambda: token(header(crit=["exp"]), good())),
    "crit that is empty": (CRITICAL, lambda: token(header(crit=[]), good())),
    "crit that is null": (CRITICAL, lambda: token(header(crit=None), good())),
    "a JWE": (ALGORITHM, lambda: ".".join(
        [base64url(b'{"alg":"RSA-OAEP","enc":"A256GCM"}'), *[base64url(b"x" * 16)] * 4])),
    "a JWE that says RS256": (MALFORMED, lambda: ".".join(
        [base64url(b'{"alg":"RS256","enc":"A256GCM"}'), *[base64url(b"x" * 16)] * 4])),
    "two parts": (MALFORMED, lambda: token(header(), good()).rsplit(".", 1)[0]),
    "JSON serialisation": (MALFORMED, lambda: json.dumps({"payload": "e30", "signature": "AA"}, separators=(",", ":"))),
    "padding": (SIGNATURE, lambda: token(header(), good()) + "="),
    "the header is an array": (MALFORMED, lambda: token("[]", good(), algorithm="RS256")),
    "the claims are an array": (WRONG_ISSUER, lambda: token(header(), "[]")),
    "the claims are no JSON": (MALFORMED, lambda: token(header(), "{")),
    "deep nesting": (MALFORMED, lambda: token(header(), raw('"x":' + "[" * 2000 + "]" * 2000))),
    "a repeated claim": (MALFORMED, lambda: token(header(), raw('"sub":"admin"'))),
    "a repeated exp": (MALFORMED, lambda: token(header(), raw('"exp":1'))),
    "a repeated alg": (MALFORMED, lambda: token('{"alg":"none",' + json.dumps(header())[1:], good(), algorithm="RS256")),
    "a repeated name below": (MALFORMED, lambda: token(header(), raw('"x":{"y":1,"y":2}'))),
    "more than 8 KiB": (MALFORMED, lambda: padded(8193)),
    # Types.
    "typ of an ID token": (TYPE, lambda: token(header(typ="JWT"), good())),
    "typ with another prefix": (TYPE, lambda: token(header(typ="text/at+jwt"), good())),
    "no typ": (TYPE, lambda: token(header(typ=...), good())),
    "typ none": (TYPE, lambda: token(header(typ="none"), good())),
    "a typ that is null": (MALFORMED, lambda: token(header(typ=None), good())),
    "a typ where none is wanted": (TYPE, lambda: token(header(), good(UNTYPED))),
    "typ none where none is wanted": (TYPE, lambda: token(header(typ="none"), good(UNTYPED))),
    # Times.
    "exp missing": (CLAIM, lambda: token(header(), good(exp=...))),
    "exp as a string": (CLAIM, lambda: token(header(), good(exp=str(int(seconds(300)))))),
    "exp 1e300": (CLAIM, lambda: token(header(), good(exp=1e300))),
    "exp beyond all numbers": (MALFORMED, lambda: token(header(), raw('"exp":1e999', exp=...))),
    "exp NaN": (MALFORMED, lambda: token(header(), raw('"exp":NaN', exp=...))),
    "exp negative": (CLAIM, lambda: token(header(), good(exp=-1))),
    "exp null": (CLAIM, lambda: token(header(), good(exp=None))),
    "exp true": (CLAIM, lambda: token(header(), good(exp=True))),
    "expired beyond the leeway": (EXPIRED, lambda: token(header(), good(exp=int(seconds(-61))))),
    "nbf in the future": (EARLY, lambda: token(header(), good(nbf=int(seconds(70))))),
    "nbf as a string": (CLAIM, lambda: token(header(), good(nbf="0"))),
    # Names.
    "another issuer": (WRONG_ISSUER, lambda: token(header(), good("https://evil.example.com"))),
    "the issuer with a slash": (WRONG_ISSUER, lambda: token(header(), good(ISSUER + "/"))),
    "the issuer in another case": (WRONG_ISSUER, lambda: token(header(), good(ISSUER.replace("login", "LOGIN")))),
    "a prefix of the issuer": (WRONG_ISSUER, lambda: token(header(), good(ISSUER[:-1]))),
    "the issuer in an array": (WRONG_ISSUER, lambda: token(header(), good(iss=[ISSUER]))),
    "no issuer": (WRONG_ISSUER, lambda: token(header(), good(iss=...))),
    "another audience": (WRONG_AUDIENCE, lambda: token(header(), good(aud="billing"))),
    "other audiences": (WRONG_AUDIENCE, lambda: token(header(), good(aud=["billing", 7, None]))),
    "the audience in another case": (WRONG_AUDIENCE, lambda: token(header(), good(aud="Order-Service"))),
    "an audience that contains ours": (WRONG_AUDIENCE, lambda: token(header(), good(aud="order-service order"))),
    "an empty array of audiences": (WRONG_AUDIENCE, lambda: token(header(), good(aud=[]))),
    "audiences in an object": (WRONG_AUDIENCE, lambda: token(header(), good(aud={AUDIENCE: AUDIENCE}))),
    "no audience": (WRONG_AUDIENCE, lambda: token(header(), good(aud=...))),
    "an audience of the other issuer": (WRONG_AUDIENCE, lambda: token(header(typ=...), good(UNTYPED, aud="orders"))),
    "no subject": (CLAIM, lambda: token(header(), good(sub=...))),
    "an empty subject": (CLAIM, lambda: token(header(), good(sub=""))),
    "a subject that is a number": (CLAIM, lambda: token(header(), good(sub=7))),
    "a subject with NUL": (CLAIM, lambda: token(header(), good(sub="alice\0"))),
    "a subject with a new line": (CLAIM, lambda: token(header(), good(sub="alice\n{}"))),
    "scopes that are a number": (CLAIM, lambda: token(header(), good(scope=7))),
    "scopes that are null": (CLAIM, lambda: token(header(), good(scope=None))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_token_is_rejected(service, name):
    reason, make = HOSTILE[name]
    made = make()
    response = service.request(f"Bearer {made}")
    assert_rejected(service, response, reason)
    assert made not in response.body.decode()


@pytest.mark.parametrize("number", range(4))
def test_keys_that_a_token_brings_are_ignored(service, stranger, number):
    brought = json.loads(json.dumps(hostile_headers()[number]).replace("{stranger}", stranger.url))
    assert_rejected(service, service.request(f"Bearer {token(brought, good(), 'rsa2048/stranger')}"), SIGNATURE)
    assert_accepted(service, service.request(f"Bearer {token(brought, good())}"), f"{ISSUER}|alice")
    assert stranger.requests == []


# PyJWT leaves types, scopes and the restrictions of keys to its callers, and reads JSON more loosely.
LAXER = {name for name, (reason, _) in HOSTILE.items() if reason == TYPE} | {
    "a key with alg PS256 for RS256", "a key for encryption", "RSA with 1024 bits", "a repeated claim", "a repeated exp",
    "a repeated alg", "a repeated name below", "more than 8 KiB", "a typ that is null", "exp as a string", "exp 1e300",
    "nbf as a string", "an empty subject", "a subject with NUL", "a subject with a new line",
    "scopes that are a number", "scopes that are null",
}


def test_pyjwt_rejects_the_hostile_tokens_as_well():
    """Otherwise they would not show what they are named for."""
    keys = {key["kid"]: jwt.PyJWK(key).key for key in KEYS["keys"]}
    assert {name for name, (_, make) in HOSTILE.items() if pyjwt_accepts(make(), keys)} == LAXER


def pyjwt_accepts(made, keys):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
            key = keys[jwt.get_unverified_header(made)["kid"]]
            jwt.decode(made, key, ALGORITHMS, audience=[AUDIENCE], issuer=[ISSUER, UNTYPED], leeway=60,
                       options={"require": ["iss", "aud", "exp", "sub"]})
            return True
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return False
