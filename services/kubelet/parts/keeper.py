"""Tells by the mirror pods of a node's parts how these are: looked at every second, written when it is news."""

from __future__ import annotations

import asyncio
from functools import partial

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.client.informer import Informer
from knarr.objects.keys import Key, key_of
from knarr.objects.pods import CONFIG_HASH, MIRROR
from services.kubelet.parts.pods import part_pod, part_status
from services.kubelet.parts.port import NodeParts, Part
from services.kubelet.pod.status_writer import StatusWriter, Turns

LOOK_SECONDS = 1.0


class PartKeeper:
    """The parts of one node. ``pods`` is how the API is to show them, for whoever keeps mirrors."""

    def __init__(self, client: Client, parts: NodeParts, node_name: str, address: str, pods: Informer[core.Pod], clock: Clock) -> None:
        """``pods`` are those of the node, ``address`` is its own."""
        self._parts, self._address, self._mirrors, self._clock = parts, address, pods, clock
        self.pods: dict[Key, core.Pod] = {}
        self._by_key: dict[Key, Part] = {}
        self._writers: dict[Key, StatusWriter] = {}
        turns = Turns()
        for part in parts.parts:
            pod = part_pod(part, node_name)
            key = key_of(pod)
            self.pods[key], self._by_key[key] = pod, part
            self._writers[key] = StatusWriter(client, partial(self._mirror, key), turns)
        # What was told last, for a mirror that is made anew.
        self._told: dict[Key, core.PodStatus] = {}
        self._changed = asyncio.Event()
        pods.on_change(self._pod_changed)

    async def wait_due(self) -> None:
        """Until the parts are to be told of."""
        await self._parts.due()

    def find(self, namespace: str, name: str) -> Part | None:
        """The part that a pod shows, if it shows one."""
        return self._by_key.get(Key(namespace, name))

    def mirror(self, namespace: str, name: str) -> core.Pod | None:
        """The pod itself, as the API has it."""
        return self._mirror(Key(namespace, name))

    async def run(self) -> None:
        """Until cancelled."""
        try:
            if not self._by_key:
                await asyncio.Event().wait()
            await asyncio.gather(self.wait_due(), self._mirrors.wait_synced())
            while True:
                self._changed.clear()
                for key, part in self._by_key.items():
                    self._tell(key, part)
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        finally:
            await asyncio.gather(*(writer.close() for writer in self._writers.values()))

    def _tell(self, key: Key, part: Part) -> None:
        mirror = self._mirror(key)
        if mirror is None:
            return
        before = mirror.status if mirror.status.container_statuses else self._told.get(key, mirror.status)
        status = part_status(part, part.course(), before, self._address, self._clock.now())
        self._told[key] = status
        self._writers[key].publish(status)

    def _mirror(self, key: Key) -> core.Pod | None:
        found = self._mirrors.store.get(*key)
        shows = found is not None and found.metadata.annotations.get(MIRROR) == self.pods[key].metadata.annotations[CONFIG_HASH]
        return found if shows else None

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        if new is not None and key_of(new) in self._by_key:
            self._changed.set()
