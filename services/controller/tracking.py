"""The finalizer by which a Job holds its pods until it has counted them: given and taken by patches, which no other write disturbs."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.machinery.errors import Conflict, NotFound, StatusError
from knarr.objects.jobs import TRACKING, is_tracked


async def release(client: Client, pod: core.Pod) -> StatusError | None:
    """Takes it from a pod; one that is gone has none. Answers what went wrong: then it may be there or not."""
    return await _patch(client, pod, {"$deleteFromPrimitiveList/finalizers": [TRACKING]})


async def track(client: Client, pod: core.Pod) -> StatusError | None:
    """Gives it to a pod that has none. Answers what went wrong."""
    return await _patch(client, pod, {"finalizers": [TRACKING]})


async def is_released(client: Client, pod: core.Pod) -> bool:
    """Whether that very pod has it no more, or is gone, by the server's word."""
    try:
        live = await client.get(core.Pod, pod.metadata.name, pod.metadata.namespace)
    except NotFound:
        return True
    return live.metadata.uid != pod.metadata.uid or not is_tracked(live)


async def _patch(client: Client, pod: core.Pod, change: dict[str, list[str]]) -> StatusError | None:
    patch = {"metadata": {"uid": pod.metadata.uid, **change}}
    try:
        await client.patch(core.Pod, pod.metadata.name, pod.metadata.namespace, patch=patch, patch_type="strategic")
    except NotFound:
        return None
    except Conflict as error:
        # Another pod of that name, unless too many write it at once.
        return None if await is_released(client, pod) else error
    except StatusError as error:
        return error
    return None
