"""The mirror pods by which the API shows what a node runs by itself.

A mirror is made for each static pod and each part of the node (services/kubelet/parts), made anew when somebody deletes it or its pod is
another one now, and deleted with it. The kubelet runs nothing for it; its status is that of what it shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.backoff import Backoff
from knarr.client.client import Client
from knarr.client.informer import Informer
from knarr.machinery.errors import AlreadyExists, Conflict, NotFound, StatusError
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.owners import owner_reference
from knarr.objects.pods import CONFIG_HASH, MIRROR
from knarr.service.tasks import cancel
from services.kubelet.node.static_pods import StaticPods

log = logging.getLogger(__name__)

RETRY = Backoff(first_seconds=0.5, limit_seconds=30.0, jitter=0.2)
# How long a Node that is not registered yet is waited for.
NODE_SECONDS = 0.5


def mirror_of(pod: core.Pod, node: core.Node) -> core.Pod:
    """How the API shows a static pod: owned by its node, and marked as what it is."""
    made = core.Pod(spec=copy_of(pod.spec))
    metadata, shown = made.metadata, pod.metadata
    metadata.name, metadata.namespace = shown.name, shown.namespace
    for name, value in shown.labels.items():
        metadata.labels[name] = value
    for name, value in shown.annotations.items():
        metadata.annotations[name] = value
    metadata.annotations[MIRROR] = shown.annotations[CONFIG_HASH]
    metadata.owner_references.append(owner_reference(node, block_owner_deletion=False))
    return made


def shows(mirror: core.Pod, pod: core.Pod | None) -> bool:
    """Whether a mirror is that of a static pod as it is now."""
    return pod is not None and not is_deleting(mirror) and mirror.metadata.annotations[MIRROR] == pod.metadata.annotations[CONFIG_HASH]


class MirrorKeeper:
    """Keeps the mirrors of one node's static pods and parts."""

    def __init__(
        self,
        client: Client,
        statics: StaticPods,
        pods: Informer[core.Pod],
        node: Callable[[], core.Node | None],
        parts: Mapping[Key, core.Pod],
        parts_due: Callable[[], Awaitable[None]],
    ) -> None:
        """``pods`` are those of the node, ``node`` is the Node as the API has it. ``parts`` are shown once they are
        due; those that are shown already stay."""
        self._client, self._statics, self._pods, self._node = client, statics, pods, node
        self._parts, self._parts_due, self._are_due = parts, parts_due, False
        self._changed = asyncio.Event()
        statics.on_change(lambda old, new: self._changed.set())
        pods.on_change(self._pod_changed)

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(self._statics.read.wait(), self._pods.wait_synced())
        waiting = asyncio.create_task(self._wait_due(), name="kubelet/mirrors/parts")
        try:
            await self._keep_on()
        finally:
            await cancel([waiting])

    async def _wait_due(self) -> None:
        await self._parts_due()
        self._are_due = True
        if self._parts:
            self._changed.set()

    async def _keep_on(self) -> None:
        failures = 0
        while True:
            self._changed.clear()
            try:
                delay = 0.0 if await self._keep() else NODE_SECONDS
                failures = 0
            except StatusError as error:
                failures += 1
                delay = RETRY.delay(failures)
                log.warning("mirror pods are not as they should be", extra={"error": str(error)})
            if delay:
                await asyncio.sleep(delay)
            else:
                await self._changed.wait()

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        """All others than mirrors, and pods in their places, are nothing to look through the node's pods for."""
        seen = [pod for pod in (old, new) if pod is not None]
        if any(MIRROR in pod.metadata.annotations or self._shown(key_of(pod)) is not None for pod in seen):
            self._changed.set()

    def _shown(self, key: Key) -> core.Pod | None:
        """What is to be shown by that name."""
        found = self._statics.find(key)
        return self._parts.get(key) if found is None else found

    async def _keep(self) -> bool:
        """Makes all mirrors as they should be; False where the Node is not there yet. Raises what one of them failed with, when all the
        others are as they should be: a pod that the API refuses hides none but itself."""
        node = self._node()
        parts = self._parts.values() if self._are_due else ()
        failure: StatusError | None = None
        for mirror in self._pods.store.list():
            if MIRROR in mirror.metadata.annotations and not shows(mirror, self._shown(key_of(mirror))):
                failure = await _failure_of(self._delete(mirror)) or failure
        wanted = [pod for pod in (*self._statics.pods.values(), *parts) if self._pods.store.get(*key_of(pod)) is None]
        for pod in wanted:
            if node is not None:
                failure = await _failure_of(self._create(mirror_of(pod, node))) or failure
        if failure is not None:
            raise failure
        return node is not None or not wanted

    async def _delete(self, mirror: core.Pod) -> None:
        metadata = mirror.metadata
        with contextlib.suppress(NotFound, Conflict):
            await self._client.delete(core.Pod, metadata.name, metadata.namespace, grace_period_seconds=0, uid=metadata.uid)

    async def _create(self, mirror: core.Pod) -> None:
        try:
            await self._client.create(mirror)
        except AlreadyExists:
            # By a mirror that the informer has yet to tell of, or by somebody's pod of that name.
            log.info("a mirror pod is there already", extra={"pod": str(key_of(mirror))})


async def _failure_of(step: Awaitable[None]) -> StatusError | None:
    try:
        await step
    except StatusError as error:
        return error
    return None
