"""Brings a cluster the FlowSchemas and PriorityLevelConfigurations that every cluster has, and keeps them.

As in Kubernetes: those that must be there are always put right; the others are while their annotation says so, and come back when they are
deleted. Of each FlowSchema it is said whether its level is there.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from knarr.api.flowcontrol.v1 import flowcontrol_pb2 as flowcontrol
from knarr.client.client import Client
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import AlreadyExists, Conflict, NotFound
from knarr.objects.conditions import set_condition
from knarr.objects.copies import copy_field, copy_of
from services.apiserver.fairness.suggested import (
    AUTO_UPDATE,
    mandatory_levels,
    mandatory_schemas,
    suggested_levels,
    suggested_schemas,
)
from services.apiserver.strategies import strategy_for

DANGLING, EXEMPT = "Dangling", "exempt"


async def keep_fairness(client: Client) -> None:
    """Once; several servers may do so at the same time."""
    # A new cluster waits for them, and each waits for etcd's disk.
    for musts, coulds in ((mandatory_levels(), suggested_levels()), (mandatory_schemas(), suggested_schemas())):
        kept = [_keep(client, wanted, mandatory=True) for wanted in musts] + [_keep(client, wanted, mandatory=False) for wanted in coulds]
        await asyncio.gather(*kept)
    levels = {level.metadata.name for level in (await client.list(flowcontrol.PriorityLevelConfiguration)).items}
    schemas = (await client.list(flowcontrol.FlowSchema)).items
    await asyncio.gather(*(_tell(client, schema, schema.spec.priority_level_configuration.name in levels) for schema in schemas))


async def _keep(client: Client, wanted: Any, *, mandatory: bool) -> None:
    strategy_for(version_of(type(wanted))).default(wanted)
    try:
        found: Any = await client.get(type(wanted), wanted.metadata.name)
    except NotFound:
        with suppress(AlreadyExists):  # another API server was faster
            await client.create(wanted)
        return
    if wanted.metadata.name == EXEMPT and isinstance(wanted, flowcontrol.PriorityLevelConfiguration):
        # What those who never wait may lend is for the cluster's people to say.
        copy_field("exempt", wanted.spec, found.spec)
    is_kept = found.metadata.annotations.get(AUTO_UPDATE, "true" if found.metadata.generation == 1 else "") == "true"
    if found.spec == wanted.spec or not (mandatory or is_kept):
        return
    changed = copy_of(found)
    changed.spec.CopyFrom(wanted.spec)
    if mandatory:
        changed.metadata.annotations[AUTO_UPDATE] = "true"
    with suppress(Conflict, NotFound):
        await client.update(changed)


async def _tell(client: Client, schema: Any, is_there: bool) -> None:
    """Writes the condition where it is another."""
    level = schema.spec.priority_level_configuration.name
    reason = "Found" if is_there else "NotFound"
    words = f"references the PriorityLevelConfiguration object named {level!r}"
    message = f"This FlowSchema {words} and it exists" if is_there else f"This FlowSchema {words} but there is no such object"
    changed = copy_of(schema)
    if set_condition(changed.status, DANGLING, not is_there, reason=reason, message=message, now=datetime.now(UTC)):
        with suppress(Conflict, NotFound):
            await client.update(changed, subresource="status")
