"""What the cloud controller manager asks of a provider in its own process.

The methods are those of ``CloudProviderService`` (proto/knarr/api/cloud/v1/provider.proto), with the same messages and the same promises:
every call may be repeated and leads to the same state. A provider is a folder ``services/cloud/providers/<name>/`` whose ``provider.py``
has a ``PROVIDER`` and a line in ``providers/catalog.py``.

One provider is made each time this manager becomes the leader, and closed when it no longer is. What it must know of the cluster it reads
from ``Environment.informers``, which are synced before the first call. Calls for different Services come side by side, never two for one
Service. A call that takes too long is cancelled (``asyncio.CancelledError`` at its next await) and repeated later. Blocking libraries
belong into a thread.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.informer import Informers
from knarr.objects.keys import Key
from services.cloud.errors import Unsupported


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a provider works; most need only ``cluster``."""

    # Names this cluster at the provider, so that several may share an account.
    cluster: str
    client: Client
    # Ask for what is needed in the constructor; they run, and are synced, before the first call.
    informers: Informers
    # Asks for a Service to be ensured again soon, for what happens outside of the calls.
    recheck: Callable[[Key], None]
    clock: Clock = SYSTEM_CLOCK


class CloudProvider(abc.ABC):
    """A provider of machines, load balancers and routes. What it does not implement it leaves out, and says so in ``get_info``.

    Errors are those of ``services.cloud.errors``; any other is taken as a fault of the provider, logged with its trace and tried again.
    """

    @abc.abstractmethod
    async def get_info(self, request: cloud.GetInfoRequest) -> cloud.GetInfoResponse:
        """Who it is and which calls it implements."""

    async def get_instance(self, request: cloud.GetInstanceRequest) -> cloud.GetInstanceResponse:
        self._unsupported("instances")

    async def ensure_load_balancer(self, request: cloud.EnsureLoadBalancerRequest) -> cloud.EnsureLoadBalancerResponse:
        self._unsupported("load balancers")

    async def update_load_balancer(self, request: cloud.UpdateLoadBalancerRequest) -> cloud.UpdateLoadBalancerResponse:
        self._unsupported("load balancers")

    async def delete_load_balancer(self, request: cloud.DeleteLoadBalancerRequest) -> cloud.DeleteLoadBalancerResponse:
        self._unsupported("load balancers")

    async def list_routes(self, request: cloud.ListRoutesRequest) -> cloud.ListRoutesResponse:
        self._unsupported("routes")

    async def create_route(self, request: cloud.CreateRouteRequest) -> cloud.CreateRouteResponse:
        self._unsupported("routes")

    async def delete_route(self, request: cloud.DeleteRouteRequest) -> cloud.DeleteRouteResponse:
        self._unsupported("routes")

    async def run(self) -> None:
        """Background work, until cancelled; most have none."""
        await asyncio.Event().wait()

    async def close(self) -> None:  # noqa: B027
        """Lets go of connections and threads."""

    def _unsupported(self, what: str) -> NoReturn:
        raise Unsupported(f"this provider has no {what}")


@dataclass(frozen=True, slots=True)
class ProviderType:
    """How a provider is configured and made.

    ``settings``: a frozen dataclass, one documented field for each option of its section in the configuration file (``ca_file`` is
    ``caFile`` there); its ``__post_init__`` raises ValueError for a value that cannot be: ``ca_file: must …``. ``make``: settings and
    environment → provider.
    """

    settings: type[Any]
    make: Callable[[Any, Environment], CloudProvider]
