"""The role of the node that the cluster's components run on.

It is not tainted, with other nodes or without: whether pods may be on it does not change because a node comes or goes, and who wants a
taint gives it. A node may not give itself a role, which would draw to it what is meant for others, so the cluster does it.
"""

from __future__ import annotations

import asyncio
import logging

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.backoff import Backoff
from knarr.client.client import Client
from knarr.client.informer import Informer
from knarr.machinery.errors import NotFound, StatusError

log = logging.getLogger(__name__)

ROLE = "node-role.kubernetes.io/control-plane"
RETRY = Backoff(first_seconds=0.5, limit_seconds=30.0, jitter=0.2)


async def give_role(client: Client, node: core.Node) -> None:
    """Once: one that has the role costs nothing. Raises StatusError."""
    if ROLE not in node.metadata.labels:
        await client.patch(core.Node, node.metadata.name, patch={"metadata": {"labels": {ROLE: ""}}})


async def keep_role(client: Client, name: str) -> None:
    """Gives a node that comes anew, because somebody deleted it, the role that it had. Who takes the role from it has his way until the
    next start. Until cancelled."""
    nodes: Informer[core.Node] = Informer(client, core.Node, field_selector=f"metadata.name={name}")
    coming: asyncio.Queue[core.Node] = asyncio.Queue()

    def changed(old: core.Node | None, new: core.Node | None) -> None:
        if new is not None and (old is None or old.metadata.uid != new.metadata.uid):
            coming.put_nowait(new)

    nodes.on_change(changed)
    following = asyncio.create_task(nodes.run(), name="control-plane/nodes")
    try:
        while True:
            node, failures = await coming.get(), 0
            while not await _given(client, node):
                failures += 1
                await asyncio.sleep(RETRY.delay(failures))
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _given(client: Client, node: core.Node) -> bool:
    try:
        await give_role(client, node)
    except NotFound:
        # The next one of its name is told.
        pass
    except StatusError as error:
        log.warning("the node has no role yet; trying again", extra={"node": node.metadata.name, "error": str(error)})
        return False
    return True
