"""The nodes beyond the first of a cluster that runs: those that its settings say, whenever they say others, and no Nodes of those that are
gone.

Whoever wants others writes them into the settings (`knarr node`), which the next start reads too: what is cut short anywhere is carried on
from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.machinery.errors import NotFound, StatusError
from knarr.objects.hollow import LABEL, node_number
from knarr.service.file_marks import FileMarks
from services.standalone.fellows.plan import LABEL as FELLOW
from services.standalone.fellows.plan import fellows
from services.standalone.hollow import HOLLOW, node_numbers
from services.standalone.settings import ClusterSettings

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
# A kubelet that was ending may have registered once more.
CLEAN_LOOKS = 3


async def chosen_nodes(client: Client, settings: ClusterSettings, marks: FileMarks) -> AsyncIterator[ClusterSettings]:
    """Each time that others are chosen, what the file of the settings says then; ``marks`` are its. After each, and at first, Nodes that
    there are to be no more are deleted. For ever."""
    clean = 0
    while True:
        if clean < CLEAN_LOOKS:
            clean = 0 if await _cleared(client, settings) else clean + 1
        await asyncio.sleep(LOOK_SECONDS)
        if not marks.changed():
            continue
        found, complaint = ClusterSettings.salvaged(settings.data_dir)
        if complaint:
            log.error("the nodes stay as they are", extra={"error": complaint})
        elif (node_numbers(found), found.stopped_nodes) != (node_numbers(settings), settings.stopped_nodes):
            log.info("other nodes are chosen", extra={"before": settings.nodes - 1, "nodes": found.nodes - 1})
            settings, clean = found, 0
            yield found


async def _cleared(client: Client, settings: ClusterSettings) -> bool:
    """Deletes the Nodes of this process that are none of these, and their pods; whether there were any, or it may be that there are."""
    try:
        gone = [node for node in (await client.list(core.Node)).items if _is_gone(node, settings)]
        for node in gone:
            for pod in (await client.list(core.Pod, field_selector=f"spec.nodeName={node.metadata.name}")).items:
                await _delete(client, pod)
            await _delete(client, node)
    except StatusError as error:
        log.warning("nodes that are gone could not be deleted; trying again", extra={"error": str(error)})
        return True
    return bool(gone)


def _is_gone(node: core.Node, settings: ClusterSettings) -> bool:
    """Simulated ones that a process of their own has are known by a label, and are its affair; so are ours that are not simulated."""
    if FELLOW in node.metadata.labels:
        return node.metadata.name not in {one.name for one in fellows(settings)}
    number = node_number(node.metadata.name)
    return number > 0 and (settings.runtime != HOLLOW or number not in node_numbers(settings)) and LABEL not in node.metadata.labels


async def _delete(client: Client, obj: core.Node | core.Pod) -> None:
    with suppress(NotFound):
        await client.delete(type(obj), obj.metadata.name, obj.metadata.namespace, grace_period_seconds=0, uid=obj.metadata.uid)
