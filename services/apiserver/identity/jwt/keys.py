"""The public keys of an issuer, and whether one of them signed a token. Pure.

What a token says of the way it is to be judged is taken for a wish: the algorithm must be one of those that are for public keys, and fit
the key that its name leads to.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from services.apiserver.tokens.accounts import Refused

# By the kind of key, and of elliptic curves by the curve.
ALGORITHMS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
}
SUPPORTED = frozenset(name for names in ALGORITHMS.values() for name in names)
# Keys of one issuer; those that are tried for a token that names none.
MOST_KEYS, MOST_TRIED = 100, 4
LEAST_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class Key:
    id: str
    algorithms: tuple[str, ...]
    # A joserfc key.
    key: Any


@dataclass(frozen=True, slots=True)
class Head:
    """What a token says before its signature; ``claims`` are not to be believed yet."""

    algorithm: str
    key_id: str
    claims: Mapping[str, Any]

    @classmethod
    def of(cls, token: str) -> Head:
        """Raises Refused for what is no signed token in its compact form."""
        parts = token.split(".")
        if len(parts) != 3 or not all(parts) or not token.isascii():
            raise Refused("oidc: malformed jwt")
        header, claims = (_object(part) for part in parts[:2])
        algorithm, key_id = header.get("alg"), header.get("kid", "")
        if not isinstance(algorithm, str) or algorithm not in SUPPORTED:
            raise Refused("oidc: the token is signed by an algorithm that is not supported")
        if not isinstance(key_id, str):
            raise Refused("oidc: the name of the token's key is no text")
        if "crit" in header or "b64" in header:
            raise Refused("oidc: the token's header asks for what is not supported")
        return cls(algorithm, key_id, claims)


@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """Those keys of an issuer that tokens can be judged by."""

    keys: tuple[Key, ...] = ()

    @classmethod
    def of(cls, data: bytes) -> KeySet:
        """From a JSON Web Key Set; keys for other uses, and those that are not understood, are left out. Raises ValueError."""
        found = orjson.loads(data)
        keys = found.get("keys") if isinstance(found, dict) else None
        if not isinstance(keys, list):
            raise ValueError("it is no JSON Web Key Set")
        if len(keys) > MOST_KEYS:
            raise ValueError(f"it has {len(keys)} keys, and {MOST_KEYS} are the most")
        return cls(tuple(key for said in keys for key in _usable(said)))

    @property
    def described(self) -> list[tuple[str, tuple[str, ...], dict[str, Any]]]:
        """By what two of them can be told apart."""
        return [(key.id, key.algorithms, key.key.as_dict(private=False)) for key in self.keys]

    def fitting(self, head: Head) -> list[Key]:
        """The keys that may have signed a token."""
        found = [key for key in self.keys if head.algorithm in key.algorithms and (not head.key_id or key.id == head.key_id)]
        return found[:MOST_TRIED]

    def signed(self, token: str, head: Head) -> bool:
        """Whether one of the fitting keys signed the token."""
        from joserfc import jws
        from joserfc.errors import JoseError

        # What else a header says is the issuer's own affair.
        registry = jws.JWSRegistry(algorithms=[head.algorithm], strict_check_header=False)
        for key in self.fitting(head):
            try:
                jws.deserialize_compact(token, key.key, registry=registry)
            except (JoseError, ValueError):
                continue
            return True
        return False


def _usable(said: Any) -> Iterator[Key]:
    if not isinstance(said, dict) or said.get("use", "sig") != "sig":
        return
    kind = said.get("kty")
    curve = said.get("crv", "") if kind == "EC" else ""
    known = ALGORITHMS.get((kind, curve)) if isinstance(kind, str) and isinstance(curve, str) else None
    meant = said.get("alg")
    algorithms = tuple(name for name in known or () if meant is None or name == meant)
    key_id = said.get("kid", "")
    if not algorithms or not isinstance(key_id, str):
        return
    # Members beside those of a public key are of no use here: chains of certificates, and private ones that should not be there.
    public = {name: said[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in said}
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, RSAKey

    try:
        if kind == "RSA" and len(_bytes(public.get("n"))) * 8 < LEAST_RSA_BITS:
            return
        yield Key(key_id, algorithms, (RSAKey if kind == "RSA" else ECKey).import_key(public))
    except (JoseError, ValueError, TypeError, KeyError):
        return


def _bytes(text: Any) -> bytes:
    """Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("it is no text")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("it is no base64url") from None


def _object(part: str) -> dict[str, Any]:
    try:
        found = orjson.loads(_bytes(part))
    except (ValueError, RecursionError):
        raise Refused("oidc: malformed jwt") from None
    if not isinstance(found, dict):
        raise Refused("oidc: malformed jwt")
    return found
