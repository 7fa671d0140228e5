"""What a kubelet remembers of an image that it fetched: by which name, and by whose login. Pure.

Kubernetes' ImagePulledRecord and ImagePullIntent, of kubelet.config.k8s.io. An intent is written before a pull, a record after it. Where
there is an intent alone, an image may have come of which nobody knows by whose login: its record has none, and every pod must show its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

import orjson

from knarr.machinery.forms import write_seconds
from services.kubelet.image_match import repository_of
from services.kubelet.node.keyring import Credential, Owner

API_VERSION = "kubelet.config.k8s.io/v1beta1"
API_VERSIONS = (API_VERSION, "kubelet.config.k8s.io/v1alpha1")
RECORD, INTENT = "ImagePulledRecord", "ImagePullIntent"
# How many logins are kept of one repository: from then on the oldest makes way, and whose login is not kept pulls again.
MOST = 100

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PullSecret:
    """A Secret by whose login an image was had, and the hash of that login."""

    owner: Owner
    hash: str


@dataclass(frozen=True, slots=True)
class Grant:
    """Who may have an image by one of its repositories."""

    everybody: bool = False
    secrets: tuple[PullSecret, ...] = ()
    accounts: tuple[Owner, ...] = ()

    def with_credential(self, credential: Credential | None) -> Grant:
        """As it is once the image was had by a login, None: without one. The same grant where that tells nothing new."""
        if self.everybody:
            return self
        if credential is not None and credential.secret is not None:
            others = tuple(known for known in self.secrets if known.owner != credential.secret)
            known = PullSecret(credential.secret, credential.hash)
            return self if known in self.secrets else replace(self, secrets=(*others, known)[-MOST:])
        if credential is not None and credential.account is not None:
            return self if credential.account in self.accounts else replace(self, accounts=(*self.accounts, credential.account)[-MOST:])
        return Grant(everybody=True)

    def known(self, credentials: Iterable[Credential]) -> Credential | None:
        """The first of a pod's logins that the image was had by, or whose Secret or ServiceAccount it was had by."""
        owners, hashes = {known.owner for known in self.secrets}, {known.hash for known in self.secrets}
        for credential in credentials:
            if credential.secret is not None and (credential.hash in hashes or credential.secret in owners):
                return credential
            if credential.account is not None and credential.account in self.accounts:
                return credential
        return None

    @property
    def full(self) -> bool:
        return len(self.secrets) >= MOST


@dataclass(frozen=True, slots=True)
class PullRecord:
    """Of one image, by the engine's id. ``grants`` are by repository, with its registry and without tag."""

    image_id: str
    updated_at: datetime
    grants: Mapping[str, Grant] = field(default_factory=dict)

    def grant(self, reference: str) -> Grant:
        """Of the repository of ``reference``."""
        return self.grants.get(repository_of(reference)) or Grant()

    def covers(self, reference: str) -> bool:
        """Whether what is known of the image is known of that name, too. By a name that it was never fetched by, it is one that somebody
        gave to the node, if what it has is everybody's by another name; else that would be a way round the login."""
        return repository_of(reference) in self.grants or not any(grant.everybody for grant in self.grants.values())

    def with_grant(self, reference: str, grant: Grant, now: datetime) -> PullRecord:
        return replace(self, grants={**self.grants, repository_of(reference): grant}, updated_at=now)


def file_name(what: str) -> str:
    """Of the record of an image's id, or of the intent to pull a reference."""
    return f"sha256-{hashlib.sha256(what.encode()).hexdigest()}"


def intent_text(reference: str) -> bytes:
    return _text(INTENT, {"image": reference})


def parse_intent(text: bytes) -> str:
    """The reference. Raises ValueError."""
    return _of(_document(text, INTENT).get("image"), str)


def record_text(record: PullRecord) -> bytes:
    grants = {repository: _grant_json(grant) for repository, grant in record.grants.items()}
    updated = write_seconds(int(record.updated_at.timestamp()))
    return _text(RECORD, {"lastUpdatedTime": updated, "imageRef": record.image_id, "credentialMapping": grants})


def parse_record(text: bytes) -> PullRecord:
    """Raises ValueError."""
    found = _document(text, RECORD)
    grants = {repository: _grant(_of(entry, dict)) for repository, entry in _of(found.get("credentialMapping") or {}, dict).items()}
    return PullRecord(_of(found.get("imageRef"), str), _moment(_of(found.get("lastUpdatedTime"), str)), grants)


def _grant_json(grant: Grant) -> dict[str, Any]:
    if grant.everybody:
        return {"nodePodsAccessible": True}
    told: dict[str, Any] = {}
    if grant.secrets:
        told["kubernetesSecrets"] = [{**_owner_json(known.owner), "credentialHash": known.hash} for known in grant.secrets]
    if grant.accounts:
        told["kubernetesServiceAccounts"] = [_owner_json(owner) for owner in grant.accounts]
    return told


def _grant(entry: dict[str, Any]) -> Grant:
    secrets, accounts = (_of(entry.get(name) or [], list) for name in ("kubernetesSecrets", "kubernetesServiceAccounts"))
    return Grant(
        entry.get("nodePodsAccessible") is True,
        tuple(PullSecret(_owner(_of(one, dict)), _of(one.get("credentialHash", ""), str)) for one in secrets),
        tuple(_owner(_of(one, dict)) for one in accounts),
    )


def _owner_json(owner: Owner) -> dict[str, str]:
    return {"uid": owner.uid, "namespace": owner.namespace, "name": owner.name}


def _owner(entry: dict[str, Any]) -> Owner:
    return Owner(*(_of(entry.get(name), str) for name in ("uid", "namespace", "name")))


def _text(kind: str, fields: dict[str, Any]) -> bytes:
    return orjson.dumps({"kind": kind, "apiVersion": API_VERSION, **fields})


def _document(text: bytes, kind: str) -> dict[str, Any]:
    found = _of(orjson.loads(text), dict)
    if found.get("kind") != kind or found.get("apiVersion") not in API_VERSIONS:
        raise ValueError(f"it is no {kind} of {API_VERSION}")
    return found


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return found


def _of(found: Any, kind: type[T]) -> T:
    if not isinstance(found, kind):
        raise ValueError(f"{found!r} is no {kind.__name__}")
    return found
