"""An issuer of tokens as OpenID Connect has them: its keys, what it says at its URLs, and tokens that it signs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

URL = "https://issuer.example.com"
CONFIGURATION, KEYS = f"{URL}/.well-known/openid-configuration", f"{URL}/keys"


@cache
def key(name: str = "k1", kind: str = "P-256") -> Any:
    """The same one for all tests of a process."""
    made: Any
    if kind.startswith("RSA"):
        made = rsa.generate_private_key(65537, int(kind[3:] or 2048))
    else:
        made = ec.generate_private_key({"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}[kind])
    pem = made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (RSAKey if kind.startswith("RSA") else ECKey).import_key(pem)


def public(name: str = "k1", kind: str = "P-256", **members: Any) -> dict[str, Any]:
    return {**key(name, kind).as_dict(private=False), "kid": name, "use": "sig", **members}


def signed(claims: Mapping[str, Any] | bytes, name: str = "k1", kind: str = "P-256", algorithm: str = "ES256", **header: Any) -> str:
    payload = claims if isinstance(claims, bytes) else orjson.dumps(claims)
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    return str(jws.serialize_compact({"alg": algorithm, "kid": name, **header}, payload, key(name, kind), registry=registry))


class Issuer:
    """``pages`` are what lies at its URLs; ``asked`` the URLs that were asked for, with the authority that was trusted."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.pages: dict[str, bytes | Exception] = {}
        self.asked: list[tuple[str, str]] = []
        self.say(*(keys or (public(),)))

    def say(self, *keys: dict[str, Any]) -> None:
        self.pages[CONFIGURATION] = orjson.dumps({"issuer": URL, "jwks_uri": KEYS})
        self.pages[KEYS] = orjson.dumps({"keys": list(keys)})

    async def fetch(self, url: str, authority: str) -> bytes:
        self.asked.append((url, authority))
        found = self.pages.get(url, OSError("nobody is there"))
        if isinstance(found, Exception):
            raise found
        return found
