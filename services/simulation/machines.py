"""The simulated machines: each a kubelet without containers, of the size that its group has. They join, leave, fail and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.machinery.errors import Conflict, NotFound, StatusError
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.owners import controller_of
from knarr.objects.pods import is_finished
from knarr.service.tasks import cancel
from services.apiserver.admission.node_restriction.labels import forbidden_labels
from services.kubelet.component import Kubelet
from services.kubelet.hollow_faults import Condition
from services.kubelet.hollow_nodes import HollowNode
from services.kubelet.node.machine import Machine
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.settings import KubeletSettings
from services.simulation.trace import NodeGroup

# A label of each node, by which a trace's workloads can choose.
GROUP = "knarr.dev/group"
ADDRESS = "192.0.2.10"
DISK_BYTES = 100 << 30
# How long a drain waits before it asks again for what a budget refused, and looks again for what is left.
AGAIN_SECONDS = 5.0
POLL_SECONDS = 0.05
# Nothing of a simulated machine changes by itself; what does change is looked at when it does.
LOOK_SECONDS = 300.0


class Machines:
    """All of them. ``client_of`` gives the API as the node of that name sees it, ``admin`` that of who drains nodes."""

    def __init__(self, client_of: Callable[[str], Client], admin: Client, folder: Path, clock: Clock) -> None:
        self._client_of, self._admin, self._folder, self._clock = client_of, admin, folder, clock
        # By group, in the order in which they joined; those that have left are not among them.
        self._nodes: dict[str, list[HollowNode]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._count = 0
        self._joined: dict[str, int] = {}

    def join(self, group: NodeGroup, count: int) -> None:
        """They register as soon as they can."""
        for _ in range(count):
            self._count += 1
            self._joined[group.name] = self._joined.get(group.name, 0) + 1
            settings = self._settings(group, self._joined[group.name], self._count)
            node = HollowNode(self._maker(group, settings), self._count, Condition(runtime=group.runtime), settings.node_name)
            self._nodes.setdefault(group.name, []).append(node)
            self._running[node.name] = asyncio.create_task(self._run(node, group), name=f"machine {node.name}")

    async def _run(self, node: HollowNode, group: NodeGroup) -> None:
        """Until cancelled. Labels that no kubelet may give its node are given to it by who keeps the nodes, as on a real one."""
        running = asyncio.create_task(node.run(), name=f"machine {node.name}/kubelet")
        try:
            if given := {key: group.labels[key] for key in forbidden_labels(group.labels, {})}:
                while not node.ready and not running.done():  # noqa: ASYNC110
                    await asyncio.sleep(POLL_SECONDS)
                await self._admin.patch(core.Node, node.name, patch={"metadata": {"labels": given}})
            await running
        finally:
            await cancel([running])

    async def wait_ready(self) -> None:
        """Until each that is here has been ready."""
        for nodes in self._nodes.values():
            for node in nodes:
                while not node.ready:  # noqa: ASYNC110
                    await asyncio.sleep(POLL_SECONDS)

    async def leave(self, group: str, count: int) -> None:
        """The newest are drained, and gone when nothing is left on them. Budgets are kept."""
        nodes = self._nodes.get(group, [])
        leaving = nodes[max(len(nodes) - count, 0) :]
        del nodes[max(len(nodes) - count, 0) :]
        await asyncio.gather(*(self._leave(node.name) for node in leaving))

    async def fail(self, group: str, count: int, seconds: float | None) -> None:
        """The first are off for so long, without notice."""
        struck = [node for node in self._nodes.get(group, []) if not node.condition.down][:count]
        for node in struck:
            node.become(replace(node.condition, down=True))
        if seconds is not None:
            await asyncio.sleep(seconds)
            for node in struck:
                node.become(replace(node.condition, down=False))

    async def close(self) -> None:
        await cancel(list(self._running.values()))

    async def _leave(self, name: str) -> None:
        await self._admin.patch(core.Node, name, patch={"spec": {"unschedulable": True}})
        while True:
            listed = await self._admin.list(core.Pod, field_selector=f"spec.nodeName={name}")
            left = [pod for pod in listed.items if not is_finished(pod) and not _of_each_node(pod)]
            if not left:
                break
            for pod in left:
                if not is_deleting(pod):
                    await self._evict(key_of(pod))
            await asyncio.sleep(AGAIN_SECONDS)
        await cancel([self._running.pop(name)])
        await self._admin.delete(core.Node, name)

    async def _evict(self, key: Key) -> None:
        body = policy.Eviction(metadata=meta.ObjectMeta(name=key.name, namespace=key.namespace))
        try:
            await self._admin.create(body, subresource="eviction", name=key.name)
        except (NotFound, Conflict):
            pass
        except StatusError as error:
            # 429: a budget has none left now.
            if error.status.code != 429:
                raise

    def _settings(self, group: NodeGroup, number: int, place: int) -> KubeletSettings:
        """``number`` is the node's in its group, ``place`` that among all."""
        name = f"{group.name}-{number}"
        return KubeletSettings(
            node_name=name,
            data_dir=self._folder / name,
            node_ip=ADDRESS,
            pod_cidr=f"10.{place >> 8 & 255}.{place & 255}.0/24",
            max_pods=group.pods,
            status_check_seconds=LOOK_SECONDS,
            labels={**self._own(group.labels), GROUP: group.name},
            taints=group.taints,
        )

    @staticmethod
    def _own(labels: Mapping[str, str]) -> dict[str, str]:
        forbidden = forbidden_labels(labels, {})
        return {key: value for key, value in labels.items() if key not in forbidden}

    def _maker(self, group: NodeGroup, settings: KubeletSettings) -> Callable[[HollowNode], tuple[Kubelet, HollowRuntime]]:
        def make(node: HollowNode) -> tuple[Kubelet, HollowRuntime]:
            runtime = HollowRuntime(settings.pod_cidr, node.condition.runtime, self._clock)
            return Kubelet(self._client_of(node.name), settings, runtime, self._clock, machine=machine_of(group, node.name)), runtime

        return make


def machine_of(group: NodeGroup, name: str) -> Machine:
    """Nothing of the machine on which it is simulated."""
    return Machine(
        cpus=group.cpus,
        memory_bytes=group.memory_bytes,
        disk_bytes=DISK_BYTES,
        kernel="6.12.0",
        os_image="hollow",
        architecture="amd64",
        machine_id=name,
        boot_id=name,
        system_uuid=name,
        recursive_read_only=True,
        max_pids=1 << 22,
    )


def _of_each_node(pod: core.Pod) -> bool:
    """A DaemonSet would make it anew at once; it goes with the node."""
    owner = controller_of(pod)
    return owner is not None and owner.kind == "DaemonSet"
