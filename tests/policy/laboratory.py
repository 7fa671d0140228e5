"""The cluster of ``worlds`` on two nodes that are network namespaces, with our tables in each, and what the oracle says beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from services.proxy.podnetwork.plan import ROUTES
from services.proxy.policy.engine import PolicyEngine
from services.proxy.policy.kernel import PolicyTable
from services.proxy.settings import ProxySettings
from tests.policy import walk, worlds
from tests.policy.oracle import World, allowed
from tests.policy.probing import Probe, Prober
from tests.proxy.laboratory import Namespace, ip
from tests.proxy.machines import Machine, Machines
from tests.proxy.test_pod_network import Kernels

SETTINGS = ProxySettings()


class PolicyLaboratory:
    """``world`` is what is in force after ``enforce``."""

    def __init__(self, machines: Machines, world: World) -> None:
        self.machines, self.world = machines, world
        self.engines = {node.name: PolicyEngine(node.name) for node in machines.nodes}
        self.threads = {node.name: ThreadPoolExecutor(1) for node in machines.nodes}
        self.tables = {node.name: self.on(node, lambda: PolicyTable(SETTINGS.policy_table, SETTINGS.pod_bridge)) for node in machines.nodes}
        self.places: dict[str, Namespace] = {worlds.OUTSIDE: machines.outside}
        for node in machines.nodes:
            self.places[node.address] = node.namespace
            self.places.update((node.pod_address(number), pod) for number, pod in enumerate(node.pods))
        self.prober = Prober(self.places)
        for place in (*(pod for node in machines.nodes for pod in node.pods), machines.outside):
            self.prober.serve(place, worlds.PORTS)

    def on(self, node: Machine, work):  # type: ignore[no-untyped-def]
        """Runs something in the node's thread, which is in its namespace."""
        with node.namespace.entered():
            return self.threads[node.name].submit(work).result(20)

    def enforce(self) -> None:
        """Puts the world in force on all nodes."""
        for node in self.machines.nodes:
            engine, table = self.engines[node.name], self.tables[node.name]
            walk.fill(engine, self.world)
            changes = {entry: engine.entries.get(entry) for entry in engine.settle()}
            self.on(node, lambda table=table, changes=changes: (table.apply(changes), table.ensure_seen()))

    def probes(self) -> list[Probe]:
        """Everybody to every pod and to the outside."""
        pods = [pod["status"]["podIP"] for pod in self.world.pods]
        targets = (*pods, worlds.OUTSIDE)
        sources = (*pods, worlds.OUTSIDE, *self.world.nodes.values())
        return [
            Probe(source, destination, protocol, port)
            for source in sources
            for destination in targets
            for protocol, port in worlds.PORTS
            if source in pods or destination in pods
        ]

    def expected(self, probes: list[Probe]) -> set[Probe]:
        return {probe for probe in probes if allowed(self.world, probe.source, probe.destination, probe.protocol, probe.port)}

    def check(self, about: str = "") -> None:
        """All connections of the matrix end as the oracle says."""
        probes = self.probes()
        expected = self.expected(probes)
        reached = self.prober.reached(probes, expected)
        leaked, lost = sorted(map(str, reached - expected)), sorted(map(str, expected - reached))
        assert not leaked and not lost, f"{about}: {len(leaked)} got through: {leaked[:5]}; {len(lost)} did not: {lost[:5]}"

    def close(self) -> None:
        self.prober.close()
        for name, table in self.tables.items():
            self.threads[name].submit(table.close).result(20)
            self.threads[name].shutdown()


@contextlib.contextmanager
def opened(mode: str = ROUTES, world: World | None = None) -> Iterator[PolicyLaboratory]:
    """Two nodes, their pods reachable by routes or VXLAN; the outside has a way to them, too."""
    with Machines(2, pods=5).opened() as machines:
        kernels = Kernels(machines, mode)
        try:
            kernels.bring()
            with machines.fabric.entered():
                ip(*(f"route add 10.244.{node.subnet}.0/24 via {node.address}" for node in machines.nodes))
            with machines.outside.entered():
                ip(*(f"route add 10.244.{node.subnet}.0/24 via 198.51.100.1" for node in machines.nodes))
            lab = PolicyLaboratory(machines, world or worlds.cluster())
            try:
                yield lab
            finally:
                lab.close()
        finally:
            kernels.close()
