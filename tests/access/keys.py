"""Keys and tokens, made with PyJWT and cryptography. Hostile tokens are put together here, since PyJWT makes none."""

import base64
import functools
import hashlib
import hmac
import json
import time

import jwt.algorithms
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "EdDSA"]
AUDIENCE = "order-service"


@functools.cache
def private_key(name):
    """A key by its name, which begins with its type."""
    kind = name.split("/")[0]
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curve = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[kind]
    return ec.generate_private_key(curve)


def implementation(algorithm):
    return jwt.algorithms.get_default_algorithms()[algorithm]


def jwk(name, kid=None, **members):
    """The public key as a member of a key set."""
    algorithm = {"rsa": "RS256", "p25": "ES256", "p38": "ES384", "p52": "ES512", "ed2": "EdDSA"}[name[:3]]
    key = implementation(algorithm).to_jwk(private_key(name).public_key(), as_dict=True)
    key.pop("key_ops", None)
    return key | ({"kid": kid} if kid else {}) | members


def key_set(*keys):
    return {"keys": list(keys)}


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def text(part):
    return part if isinstance(part, str) else json.dumps(part)


def token(header, claims, key="rsa2048", algorithm=None, sign=None):
    """A token with exactly this header and these claims (a dict, or JSON as text), signed with the key."""
    message = f"{base64url(text(header).encode())}.{base64url(text(claims).encode())}".encode()
    if sign is None:
        signer = implementation(algorithm or header["alg"])
        sign = functools.partial(signer.sign, key=private_key(key))
    return f"{message.decode()}.{base64url(sign(message))}"


def hmac_with(secret):
    return lambda message: hmac.new(secret, message, hashlib.sha256).digest()


def public_pem(name):
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return private_key(name).public_key().public_bytes(serialization.Encoding.PEM, kind)


def claims(issuer, **changes):
    """The claims of a good token. A change to `...` removes a claim."""
    good = {"iss": issuer, "aud": AUDIENCE, "exp": int(time.time()) + 300, "sub": "alice",
            "scope": "openid orders:read orders:write"}
    return {name: value for name, value in (good | changes).items() if value is not ...}


def header(algorithm="RS256", kid="rsa", **changes):
    good = {"alg": algorithm, "kid": kid, "typ": "at+jwt"}
    return {name: value for name, value in (good | changes).items() if value is not ...}
