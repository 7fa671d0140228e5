"""Several machines in a box: a namespace for each node, its pods on a bridge, and between them a network or a router.

``fabric`` is the switch of one network (all nodes in 192.168.50.0/24), or the router between the networks of the nodes (192.168.60.0/24,
192.168.61.0/24, …). ``outside`` (198.51.100.2) stands for the rest of the world: it knows the nodes, and no pod.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from services.proxy.podnetwork.plan import Member
from tests.proxy.laboratory import CLUSTER_RANGES, LAST_RESORT, Laboratory, Namespace, ip

OUTSIDE = "198.51.100.2"


@dataclass
class Machine:
    """One node: range 10.244.<subnet>.0/24, pods .11, .12, …"""

    number: int
    address: str
    gateway: str
    namespace: Namespace = field(default_factory=Namespace)
    pods: list[Namespace] = field(default_factory=list)
    # Its number, unless the range was given by someone else.
    subnet: int = -1

    def __post_init__(self) -> None:
        self.subnet = self.number if self.subnet < 0 else self.subnet

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    @property
    def member(self) -> Member:
        return Member(self.name, f"10.244.{self.subnet}.0/24", self.address)

    def pod_address(self, pod: int = 0) -> str:
        return f"10.244.{self.subnet}.{11 + pod}"


class Machines(Laboratory):
    """``routed`` puts each node on a network of its own."""

    def __init__(self, nodes: int, *, routed: bool = False, pods: int = 1) -> None:
        self.fabric, self.outside = Namespace(), Namespace()
        self.routed = routed
        self.nodes = [self._machine(number) for number in range(nodes)]
        for node in self.nodes:
            node.pods += [Namespace() for _ in range(pods)]
        self._servers = []

    def _machine(self, number: int) -> Machine:
        if self.routed:
            return Machine(number, f"192.168.{60 + number}.2", f"192.168.{60 + number}.1")
        return Machine(number, f"192.168.50.{10 + number}", "192.168.50.1")

    @property
    def members(self) -> list[Member]:
        return [node.member for node in self.nodes]

    @contextlib.contextmanager
    def opened(self) -> Iterator[Machines]:
        try:
            self._wire()
            yield self
        finally:
            for namespace in (self.fabric, self.outside, *(found for node in self.nodes for found in (node.namespace, *node.pods))):
                namespace.close()

    def _wire(self) -> None:
        with self.fabric.entered():
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            self._cable(self.outside, "out", f"{OUTSIDE}/24", "addr add 198.51.100.1/24 dev out")
            if not self.routed:
                ip("link add lan type bridge", "addr add 192.168.50.1/24 dev lan", "link set lan up")
            for node in self.nodes:
                port = f"node{node.number}"
                then = f"addr add {node.gateway}/24 dev {port}" if self.routed else f"link set {port} master lan"
                self._cable(node.namespace, port, f"{node.address}/24", then)
        with self.outside.entered():
            ip("route add default via 198.51.100.1")
        for node in self.nodes:
            with node.namespace.entered():
                ip(f"route add default via {node.gateway}")
            if node.pods:
                self.attach_pods(node)

    def attach_pods(self, node: Machine) -> None:
        """Puts the node's pods on a bridge, as an engine does."""
        with node.namespace.entered():
            gateway = f"10.244.{node.subnet}.1"
            ip("link add knarr0 type bridge", f"addr add {gateway}/24 dev knarr0", "link set knarr0 up")
            for number, pod in enumerate(node.pods):
                self._cable(pod, f"pod{number}", f"{node.pod_address(number)}/24", f"link set pod{number} master knarr0")
                with pod.entered():
                    opened = [f"route del unreachable {cidr} metric {LAST_RESORT}" for cidr in CLUSTER_RANGES]
                    ip(f"route add default via {gateway}", *opened)

    async def serve_everywhere(self, port: int = 8080) -> None:
        """An echo server in each pod, named after its address, and one outside."""
        for node in self.nodes:
            for number, pod in enumerate(node.pods):
                await self.serve_in(pod, node.pod_address(number), port, node.pod_address(number))
        await self.serve_in(self.outside, OUTSIDE, port, "outside")
