"""Brings a cluster the roles and bindings that every cluster has."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.client.client import Client
from knarr.machinery.errors import AlreadyExists, Conflict, NotFound
from services.apiserver.rbac.defaults import defaults
from services.apiserver.rbac.reconciled import is_kept_out, reconciled_binding, reconciled_role

# So many are written at once: a new cluster has some hundred to make, and waits for them.
AT_ONCE = 32


async def reconcile_roles(client: Client) -> None:
    """Creates what is missing, and adds to what is there: when a server starts, as in Kubernetes. Raises StatusError."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(wanted: Any) -> None:
        async with room:
            await _reconcile(client, wanted)

    await asyncio.gather(*map(one, defaults()))


async def _reconcile(client: Client, wanted: Any) -> None:
    metadata = wanted.metadata
    try:
        stored = await client.get(type(wanted), metadata.name, metadata.namespace)
    except NotFound:
        with suppress(AlreadyExists):  # another API server was faster
            await client.create(wanted)
        return
    if is_kept_out(stored):
        return
    is_role = isinstance(wanted, rbac.ClusterRole | rbac.Role)
    changed = reconciled_role(stored, wanted) if is_role else reconciled_binding(stored, wanted)
    # What others write meanwhile is looked at when a server starts the next time.
    with suppress(Conflict, NotFound, AlreadyExists):
        if changed is None:
            await client.delete(type(wanted), metadata.name, metadata.namespace, uid=stored.metadata.uid)
            await client.create(wanted)
        elif changed != stored:
            await client.update(changed)
