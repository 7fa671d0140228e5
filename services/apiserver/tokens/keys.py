"""What signs the tokens of service accounts, and what tells whether a token was signed by this cluster.

Everything about the form of a token is settled before a byte of it is decoded: what this cluster signs begins with one of few headers,
letter by letter, each of which names a key and its algorithm. So nobody else says by what a token is to be judged.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from knarr.service.signing_key import FURTHER_KEYS, SIGNING_KEY

# By the size of an elliptic curve, as in Kubernetes.
_CURVE_ALGORITHMS = {256: "ES256", 384: "ES384", 521: "ES512"}
_RSA = "RS256"
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)


class NotSigned(Exception):
    """A text that no key of this cluster has signed."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key. ``id`` is Kubernetes': the hash of its public half, so that both find the same."""

    id: str
    algorithm: str
    # A joserfc key, private where it signs.
    key: Any

    @classmethod
    def of(cls, pem: bytes) -> Key:
        """Raises ValueError for what is no key, or none that tokens are signed by."""
        # Tokens are the first that need these libraries.
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa
        from joserfc.jwk import ECKey, RSAKey

        private = b" PRIVATE KEY-----" in pem
        loaded: Any = serialization.load_pem_private_key(pem, None) if private else serialization.load_pem_public_key(pem)
        public = loaded.public_key() if private else loaded
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        key_id = _base64(hashlib.sha256(der).digest())
        if isinstance(public, rsa.RSAPublicKey):
            return cls(key_id, _RSA, RSAKey.import_key(pem))
        if isinstance(public, ec.EllipticCurvePublicKey) and public.key_size in _CURVE_ALGORITHMS:
            return cls(key_id, _CURVE_ALGORITHMS[public.key_size], ECKey.import_key(pem))
        raise ValueError("tokens are signed by RSA keys and those of the curves P-256, P-384 and P-521")

    @property
    def header(self) -> dict[str, str]:
        return {"alg": self.algorithm, "kid": self.id}

    @property
    def segment(self) -> str:
        """What every token begins with that this key signed."""
        return _base64(orjson.dumps(self.header))

    @property
    def jwk(self) -> dict[str, str]:
        """The public half, for whoever wants to judge tokens by himself."""
        return {"use": "sig", "kid": self.id, "alg": self.algorithm, **self.key.as_dict(private=False)}


class SigningKeys:
    """``signing`` signs; tokens of the ``further`` ones are as good."""

    def __init__(self, signing: bytes, further: Sequence[bytes] = ()) -> None:
        """Private and public keys in PEM. Raises ValueError."""
        self._signing = Key.of(signing)
        self._keys = {key.segment: key for key in (self._signing, *map(Key.of, further))}

    @classmethod
    def load(cls, folder: Path) -> SigningKeys | None:
        """Those in a folder of `--trust`; None where none are. Raises OSError, ValueError."""
        if not (folder / SIGNING_KEY).exists():
            return None
        return cls.read(folder / SIGNING_KEY, folder / FURTHER_KEYS if (folder / FURTHER_KEYS).exists() else None)

    @classmethod
    def read(cls, signing: Path, further: Path | None) -> SigningKeys:
        """The private key in one file and any number of public ones in another. Raises OSError, ValueError."""
        found = [match.group() for match in _PEM.finditer(further.read_bytes())] if further is not None else []
        return cls(signing.read_bytes(), found)

    @property
    def public(self) -> list[dict[str, str]]:
        return [key.jwk for key in self._keys.values()]

    @property
    def algorithms(self) -> list[str]:
        return sorted({key.algorithm for key in self._keys.values()})

    def sign(self, payload: bytes) -> str:
        from joserfc import jws

        key = self._signing
        return jws.serialize_compact(key.header, payload, key.key, [key.algorithm])

    def knows(self, token: str) -> bool:
        """Whether a text has the form of a token that one of these keys signed. Costs one look into a table."""
        return token[: token.find(".")] in self._keys

    def payload(self, token: str) -> bytes:
        """What was signed. Raises NotSigned."""
        from joserfc import jws
        from joserfc.errors import JoseError

        key = self._keys.get(token[: token.find(".")])
        if key is None or token.count(".") != 2 or not token.isascii():
            raise NotSigned("no key of this cluster signed it")
        try:
            return jws.deserialize_compact(token, key.key, [key.algorithm]).payload
        except (JoseError, ValueError):
            raise NotSigned("its signature is not good") from None


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
