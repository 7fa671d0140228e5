"""The interfaces of an engine's sandboxes: laid by us on the engine's bridge. To have the engine do it takes a fifth of a pod's start.

The bridge, the masquerading behind it and the packet filter's ways to it stay the engine's: it makes them once, with the node's network.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Collection
from ipaddress import IPv4Network

from services.kubelet.proc import has_capabilities
from services.kubelet.runtime import interface
from services.kubelet.runtime.addresses import PodAddresses
from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.interface import NodeEnds, PodInterface, name_of
from services.kubelet.runtime.namespaces import in_a_thread_of_its_own
from services.kubelet.runtime.port import RuntimeFailure

log = logging.getLogger(__name__)

# Capabilities (capability.h): to change the node's network, to enter the pods'.
NET_ADMIN, SYS_ADMIN = 12, 21


class InterfaceFailure(RuntimeFailure):
    """A pod's interface cannot be made."""


class EngineInterfaces:
    """Those of one node."""

    def __init__(self, engine: Engine, settings: DockerSettings) -> None:
        self._engine = engine
        self._bridge, self._mtu = settings.bridge, settings.mtu
        self.use_pod_cidr(settings.pod_cidr)
        self._may_lay = has_capabilities(NET_ADMIN, SYS_ADMIN)

    def use_pod_cidr(self, pod_cidr: str) -> None:
        """As ``Runtime.use_pod_cidr``."""
        self._gateway = PodAddresses(pod_cidr).gateway if pod_cidr else ""
        self._prefix_length = IPv4Network(pod_cidr).prefixlen if pod_cidr else 0

    @property
    def ours(self) -> bool:
        """Whether they are ours to lay: not where the engine is on another machine, or this process has no say over the network."""
        return self._may_lay and is_here(self._bridge)

    async def lay(self, sandbox_id: str, address: str) -> None:
        """Makes the interface of a sandbox that runs, or what there is of it whole. Raises RuntimeFailure."""
        inspected = await self._engine.request("GET", f"containers/{sandbox_id}/json")
        wanted = PodInterface(self._bridge, address, self._prefix_length, self._gateway, self._mtu)
        try:
            await in_a_thread_of_its_own(lambda: interface.lay(wanted, sandbox_id, int(inspected["State"]["Pid"])))
        except PermissionError as error:
            # From now on the engine does it.
            self._may_lay = False
            log.warning("the network interfaces of pods are left to the engine, which takes longer", extra={"error": str(error)})
            raise InterfaceFailure(f"the pod's network interface may not be made: {error.args[-1]}") from error
        except OSError as error:
            raise InterfaceFailure(f"the pod's network interface cannot be made: {error.args[-1]}") from error

    async def look(self) -> NodeEnds:
        """What is there; nothing where that cannot be seen."""
        try:
            return await asyncio.to_thread(interface.read_ends, self._bridge)
        except OSError as error:
            log.warning("the pods' network interfaces cannot be seen", extra={"error": str(error)})
            return NodeEnds()

    async def remove(self, sandbox_id: str) -> None:
        """Takes a sandbox's away now: the kernel does so when it comes to it, and until then the address is answered for."""
        if self._may_lay:
            await self._remove([name_of(sandbox_id)])

    async def remove_strange(self, ends: NodeEnds, sandbox_ids: Collection[str]) -> None:
        """Takes away those that were there before anybody listed these sandboxes, and belong to none of them."""
        strange = ends.strange(sandbox_ids) if self._may_lay else []
        if strange:
            log.warning("network interfaces without a sandbox are removed", extra={"interfaces": strange})
            await self._remove(strange)

    @staticmethod
    async def _remove(names: Collection[str]) -> None:
        try:
            await asyncio.to_thread(interface.remove, names)
        except OSError as error:
            log.warning("a pod's network interface cannot be removed", extra={"interfaces": names, "error": str(error)})


def is_here(name: str) -> bool:
    """Whether this machine has an interface."""
    try:
        return bool(socket.if_nametoindex(name))
    except OSError:
        return False
