"""Nodes, and the pods that they leave."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import set_condition
from tests.controller.objects import (
    node,
    pod,
)
from tests.controller.scenarios.services import running
from tests.controller.scenarios.steps import step
from tests.support.mishaps import World


async def node_ranges(w: World) -> None:
    """Three nodes; one goes, and another comes."""
    for name in ("node-1", "node-2", "node-3"):
        await w.client.create(node(name))
    await step()
    await w.client.delete(core.Node, "node-2")
    await w.client.create(node("node-4"))
    await step()


def ranges_are_apart(w: World) -> None:
    given = [found.spec.pod_cidr for found in w.api.all(core.Node)]
    assert len(set(given)) == 3 and all(given), given


async def silent_nodes(w: World) -> None:
    """A node is silent, its pods go as they tolerate it; the other one falls silent too, and both come back."""
    hasty, patient = running("hasty", "10.244.0.1"), running("patient", "10.244.0.2")
    hasty.spec.tolerations.add(key="node.kubernetes.io/unreachable", operator="Exists", effect="NoExecute", toleration_seconds=20)
    patient.spec.tolerations.add(operator="Exists")
    spared = pod("spared", node="node-2", phase="Running", ready=True)
    w.api.seed(node("node-1"), node("node-2"), hasty, patient, spared)

    def beat(found: core.Node) -> None:
        set_condition(found.status, "Ready", "True", now=w.clock.now())
        found.status.conditions[0].last_heartbeat_time.seconds = int(w.clock.now().timestamp())

    async def beating(*names: str, seconds: float) -> None:
        for _ in range(int(seconds / 10)):
            for name in names:
                await w.edit(core.Node, name, beat, "", "status")
            await step(10)

    await beating("node-2", seconds=120)
    await step(120)
    await beating("node-1", "node-2", seconds=50)


async def garbage_pods(w: World) -> None:
    """Pods of a node that goes, and too many that have ended."""
    w.api.seed(node("node-1"), node("node-2"), running("left", "10.244.0.1"))
    await step()
    await w.client.delete(core.Node, "node-1")
    await step(120)
    for name in ("ended-1", "ended-2", "ended-3"):
        w.api.seed(pod(name, node="node-2", phase="Succeeded"))
    await step()
