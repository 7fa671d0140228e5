"""What the token of a service account says, in Kubernetes' form. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

PRIVATE = "kubernetes.io"
ACCOUNT_PREFIX, ACCOUNTS_GROUP = "system:serviceaccount:", "system:serviceaccounts"


@dataclass(frozen=True, slots=True)
class Named:
    """An object that a token speaks of; ``uid`` is empty for a node that was not there."""

    name: str
    uid: str

    @classmethod
    def of(cls, found: Any) -> Named | None:
        """Raises ValueError for what is no such thing."""
        if found is None:
            return None
        if not isinstance(found, dict):
            raise ValueError("an object is no object")
        return cls(_text(found, "name"), _text(found, "uid") if "uid" in found else "")

    @property
    def json(self) -> dict[str, str]:
        return {"name": self.name, "uid": self.uid} if self.uid else {"name": self.name}


@dataclass(frozen=True, slots=True)
class Claims:
    """Times are seconds since 1970. ``node`` binds where there is no ``pod``; else it is where the pod runs, and told only.

    ``warn_after``: when its owner should have had it renewed.
    """

    issuer: str
    audiences: tuple[str, ...]
    issued_at: int
    expires_at: int
    id: str
    namespace: str
    account: Named
    pod: Named | None = None
    secret: Named | None = None
    node: Named | None = None
    warn_after: int = 0

    @property
    def subject(self) -> str:
        return f"{ACCOUNT_PREFIX}{self.namespace}:{self.account.name}"

    @property
    def json(self) -> bytes:
        bound = {"pod": self.pod, "secret": self.secret, "node": self.node}
        private: dict[str, Any] = {"namespace": self.namespace, "serviceaccount": self.account.json}
        private |= {name: named.json for name, named in bound.items() if named is not None}
        if self.warn_after:
            private["warnafter"] = self.warn_after
        return orjson.dumps(
            {
                "aud": self.audiences,
                "exp": self.expires_at,
                "iat": self.issued_at,
                "iss": self.issuer,
                "jti": self.id,
                PRIVATE: private,
                "nbf": self.issued_at,
                "sub": self.subject,
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> Claims:
        """Raises ValueError for what is no token of a service account."""
        said = orjson.loads(data)
        if not isinstance(said, dict) or not isinstance(private := said.get(PRIVATE), dict):
            raise ValueError("it is no service account's")
        audiences = said.get("aud")
        audiences = [audiences] if isinstance(audiences, str) else audiences
        if not isinstance(audiences, list) or not all(isinstance(audience, str) for audience in audiences):
            raise ValueError("it has no audiences")
        account = Named.of(private.get("serviceaccount"))
        if account is None:
            raise ValueError("it names no service account")
        found = cls(
            issuer=_text(said, "iss"),
            audiences=tuple(audiences),
            issued_at=_seconds(said, "nbf"),
            expires_at=_seconds(said, "exp"),
            id=_text(said, "jti") if "jti" in said else "",
            namespace=_text(private, "namespace"),
            account=account,
            pod=Named.of(private.get("pod")),
            secret=Named.of(private.get("secret")),
            node=Named.of(private.get("node")),
            warn_after=_seconds(private, "warnafter") if "warnafter" in private else 0,
        )
        if said.get("sub") != found.subject:
            raise ValueError("its subject is another one")
        return found


def _text(said: dict[str, Any], name: str) -> str:
    found = said.get(name)
    if not isinstance(found, str) or not found:
        raise ValueError(f"{name} is no text")
    return found


def _seconds(said: dict[str, Any], name: str) -> int:
    found = said.get(name)
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise ValueError(f"{name} is no time")
    return int(found)
