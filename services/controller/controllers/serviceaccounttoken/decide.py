"""ServiceAccountToken: what becomes of a Secret that asks for a token of an account. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.account_tokens import ACCOUNT_UID, TOKEN
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting

CERTIFICATE, NAMESPACE = "ca.crt", "namespace"


@dataclass(frozen=True, slots=True)
class Delete:
    """The account is gone, or another one by its name: what the Secret has is worth nothing."""


@dataclass(frozen=True, slots=True)
class Fill:
    """The Secret as it is to be; ``wants_token`` when it has none yet."""

    secret: core.Secret
    wants_token: bool


def decide(secret: core.Secret, account: core.ServiceAccount | None, certificate: str) -> Delete | Fill | None:
    """``certificate`` is the CA's in PEM; where it is empty none is written. None when there is nothing to do."""
    if is_deleting(secret):
        return None
    uid = secret.metadata.annotations.get(ACCOUNT_UID)
    if account is None or (uid and uid != account.metadata.uid):
        return Delete()
    wanted = copy_of(secret)
    wanted.metadata.annotations[ACCOUNT_UID] = account.metadata.uid
    wanted.data[NAMESPACE] = secret.metadata.namespace.encode()
    if certificate:
        wanted.data[CERTIFICATE] = certificate.encode()
    wants_token = not secret.data.get(TOKEN)
    return Fill(wanted, wants_token) if wants_token or wanted != secret else None
