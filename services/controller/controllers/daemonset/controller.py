"""DaemonSet: keeps a pod on each node that fits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import ClassVar

from google.protobuf.message import Message

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import NORMAL, WARNING
from knarr.client.reconciler import Again
from knarr.machinery.errors import StatusError
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.pods import FAILED
from services.controller.controller import Context
from services.controller.controllers.daemonset.decide import Facts, Plan, decide
from services.controller.controllers.daemonset.placement import fit, new_pod
from services.controller.workloads.controller import WorkloadController, again
from services.controller.workloads.failures import FailedPods
from services.controller.workloads.history import POD_REVISION, history, same_template, settle_history, truncate
from services.controller.workloads.pods import PodWriter
from services.controller.workloads.status import report


class DaemonSetController(WorkloadController[apps.DaemonSet]):
    name = "daemonset"
    workload: ClassVar[type[Message]] = apps.DaemonSet
    counts_in_batches = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._pods = self.owns(core.Pod)
        self._revisions = self.owns(apps.ControllerRevision)
        self._nodes = self.hears(core.Node, self._node_changed)
        self._failed = FailedPods()
        self.hears(apps.DaemonSet, self._failed.forget_gone)
        self._writer = PodWriter(context.client, self.recorder, self.expectations)

    def _node_changed(self, old: core.Node | None, new: core.Node | None) -> Iterable[Key]:
        """The DaemonSets that should run otherwise for it. A node tells of itself all the time, and mostly nothing that counts here."""
        if old is not None and new is not None and _is_alike(old, new):
            return
        for daemon_set in self.workloads.list():
            before, after = (None if node is None else fit(daemon_set, node) for node in (old, new))
            if before != after:
                yield key_of(daemon_set)

    async def sync(self, workload: apps.DaemonSet) -> Again | None:
        if is_deleting(workload):
            # Its pods and revisions may be orphaned or deleted already: what it would say of them is not so.
            return None
        revisions = await self.claimed(workload, self._revisions)
        current, collisions = await settle_history(self.client, workload, history(workload, revisions, POD_REVISION), POD_REVISION)
        settled = self.is_settled(workload)
        pods = await self.claimed(workload, self._pods)
        alike = same_template(workload.spec.template, revisions)
        plan = self._decide(workload, pods, {_hash(current), *(_hash(found) for found in alike)}, settled)
        failure = await self._act(workload, plan, _hash(current))
        live = {pod.metadata.labels.get(POD_REVISION, "") for pod in pods} | {_hash(current)}
        names = {found.metadata.name for found in revisions if _hash(found) in live}
        await truncate(self.client, revisions, names, workload.spec.revision_history_limit)
        if collisions:
            plan.status.collision_count = collisions
        await report(self.client, workload, plan.status, insist=True)
        if failure is not None:
            raise failure
        return again(plan.again_seconds)

    def _decide(self, daemon_set: apps.DaemonSet, pods: Sequence[core.Pod], hashes: set[str], settled: bool) -> Plan:
        key, generation, now = key_of(daemon_set), daemon_set.metadata.generation, asyncio.get_running_loop().time()
        return decide(
            daemon_set,
            Facts(
                self._nodes.list(),
                pods,
                hashes,
                self.context.clock.now(),
                held=lambda node: self._failed.held(key, generation, node, now),
                burst=self.context.settings.burst_replicas,
                settled=settled,
            ),
        )

    async def _act(self, daemon_set: apps.DaemonSet, plan: Plan, revision: str) -> StatusError | None:
        for node, pod in plan.ended:
            self._tell_ended(daemon_set, node, pod)
        failure = await self._writer.create(daemon_set, (new_pod(daemon_set, node, revision) for node in plan.create))
        return await self._writer.delete(daemon_set, plan.delete) or failure

    def _tell_ended(self, daemon_set: apps.DaemonSet, node: str, pod: core.Pod) -> None:
        what = f"daemon pod {pod.metadata.namespace}/{pod.metadata.name} on node {node}"
        event = self.recorder.event
        if pod.status.phase == FAILED:
            self._failed.note(key_of(daemon_set), daemon_set.metadata.generation, node, asyncio.get_running_loop().time())
            event(daemon_set, WARNING, "FailedDaemonPod", f"Found failed {what}, will try to kill it")
        else:
            event(daemon_set, NORMAL, "SucceededDaemonPod", f"Found succeeded {what}, will try to delete it")


def _hash(revision: apps.ControllerRevision) -> str:
    """The hash of a revision's template, by which its pods are known; of one that another made without it, its name."""
    return revision.metadata.labels.get(POD_REVISION, "") or revision.metadata.name


def _is_alike(old: core.Node, new: core.Node) -> bool:
    """In all that decides which pods fit."""
    return old.metadata.labels == new.metadata.labels and list(old.spec.taints) == list(new.spec.taints)
