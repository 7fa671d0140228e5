"""The ServiceCIDR ``kubernetes``: the range of Services' addresses that the API server was started with, for whoever asks which that is.

Specified by Kubernetes' controller ``kubernetes-service-cidr-controller``, which runs in its API server.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.client.client import Client
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.conditions import set_condition
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from services.apiserver.bootstrap import NAME, ensure

log = logging.getLogger(__name__)

READY = "Ready"


async def keep_service_range(client: Client, cidr: str, now: Callable[[], datetime]) -> None:
    """Creates it where it is missing, and says that it is ready; several servers may do so at once. Raises StatusError."""
    wanted = networking.ServiceCIDR()
    wanted.metadata.name = NAME
    wanted.spec.cidrs.append(cidr)
    await ensure(client, wanted)
    try:
        found = await client.get(networking.ServiceCIDR, NAME)
        if is_deleting(found) or any(condition.type == READY for condition in found.status.conditions):
            return
        if list(found.spec.cidrs) != [cidr]:
            log.warning("ServiceCIDR %s says %s, and addresses are given out of %s: delete it", NAME, ",".join(found.spec.cidrs), cidr)
            return
        ready = copy_of(found)
        set_condition(ready.status, READY, True, message="Kubernetes default Service CIDR is ready", now=now())
        await client.update(ready, subresource="status")
    except (Conflict, NotFound):  # another API server, or somebody, was faster
        return
