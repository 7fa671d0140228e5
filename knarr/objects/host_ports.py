"""Ports that a pod takes on its node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.pods import lasting_containers

ANY_ADDRESS = "0.0.0.0"


class HostPort(NamedTuple):
    """A port that a pod takes on its node."""

    address: str
    protocol: str
    port: int

    def clashes(self, other: HostPort) -> bool:
        """Whether both cannot be had: the same port, at the same address or at any."""
        same = (self.protocol, self.port) == (other.protocol, other.port)
        return same and (self.address == other.address or ANY_ADDRESS in (self.address, other.address))


def host_ports(spec: core.PodSpec) -> Sequence[HostPort]:
    """Those of main containers and sidecars, as they are declared."""
    return [
        HostPort(port.host_ip or ANY_ADDRESS, port.protocol or "TCP", port.host_port)
        for container in lasting_containers(spec)
        for port in container.ports
        if port.host_port
    ]
