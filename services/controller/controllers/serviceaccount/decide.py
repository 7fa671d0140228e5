"""ServiceAccount: every living namespace has one called ``default``."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.keys import is_deleting

NAME = "default"


def decide(namespace: core.Namespace, found: core.ServiceAccount | None) -> core.ServiceAccount | None:
    """The account to create; None when there is nothing to do."""
    if found is not None or is_deleting(namespace) or namespace.status.phase == "Terminating":
        return None
    account = core.ServiceAccount()
    account.metadata.name, account.metadata.namespace = NAME, namespace.metadata.name
    return account
