"""Gives up images: now and then when the disk is full or they are old, and at once where a pod would have to go instead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.clock import Clock
from knarr.client.events import WARNING, EventRecorder
from knarr.objects.images import full_name
from knarr.objects.pods import every_container
from services.kubelet.eviction.signals import SignalReader
from services.kubelet.node.image_garbage import (
    ImageLedger,
    PulledImages,
    bytes_to_free,
    names_of,
    sizes_of,
    to_remove,
    too_old,
)
from services.kubelet.node.pull_ledger import PullLedger
from services.kubelet.runtime.port import LocalImage, PodObservation, Runtime, RuntimeFailure
from services.kubelet.thresholds import IMAGEFS, GarbageRules

log = logging.getLogger(__name__)

PERIOD_SECONDS = 300.0


class ImageKeeper:
    """Of one node. ``pods`` answers those that are on it, ended ones too: their containers may be looked at still."""

    def __init__(
        self,
        rules: GarbageRules,
        runtime: Runtime,
        pulled: PulledImages,
        pulls: PullLedger,
        pods: Callable[[], Iterable[core.Pod]],
        signals: SignalReader,
        recorder: EventRecorder,
        clock: Clock,
    ) -> None:
        self._rules, self._runtime, self._pulled, self._pulls, self._pods = rules, runtime, pulled, pulls, pods
        self._signals, self._recorder, self._clock = signals, recorder, clock
        self._ledger = ImageLedger()

    async def run(self, node: Callable[[], core.Node | None]) -> None:
        """Until cancelled. ``node`` answers the Node as the API has it, to tell of it; None: not yet."""
        while True:
            try:
                await self.look(node())
            except (RuntimeFailure, OSError) as error:
                log.warning("images cannot be looked after", extra={"error": str(error)})
            await asyncio.sleep(PERIOD_SECONDS)

    async def look(self, node: core.Node | None = None) -> None:
        """Once. Raises RuntimeFailure, and OSError where the machine cannot be read."""
        await self._pulls.prune(self._runtime.images)
        await self._give_up(None, old=True)
        seen = (await self._signals.read()).get(IMAGEFS)
        needed = bytes_to_free(self._rules, seen.available, seen.capacity) if seen is not None else 0
        if not needed:
            return
        freed = await self._give_up(needed)
        if freed < needed and node is not None:
            words = (
                "Failed to garbage collect required amount of images. "
                f"Attempted to free {needed} bytes, but only found {freed} bytes eligible to free."
            )
            self._recorder.event(node, WARNING, "FreeDiskSpaceFailed", words)

    async def remove_unused(self) -> None:
        """All that nobody uses."""
        try:
            await self._give_up(None)
        except RuntimeFailure as error:
            log.warning("images cannot be given up", extra={"error": str(error)})

    async def _give_up(self, needed: int | None, *, old: bool = False) -> int:
        """``old``: those that lie unused for too long. Answers how many bytes that were. Raises RuntimeFailure."""
        present, now = await self._runtime.images(), self._clock.now()
        used = with_other_names(used_images(self._pods(), self._runtime.observed().values()), present)
        sizes, names = sizes_of(present), names_of(present)
        self._ledger.look(self._pulled.names & sizes.keys(), used, now)
        known = self._ledger.known
        chosen = too_old(self._rules, known, used, now) if old else to_remove(self._rules, known, sizes, used, now, needed)
        freed = 0
        for name in chosen:
            try:
                await self._runtime.remove_image(names[name])
            except RuntimeFailure as error:
                # Somebody else may use it: a container that is no pod's.
                log.info("an image was not removed", extra={"image": name, "error": str(error)})
                continue
            self._pulled.discard(name)
            freed += sizes[name]
            log.info("an image was removed", extra={"image": name})
        return freed


def with_other_names(used: set[str], present: Iterable[LocalImage]) -> set[str]:
    """An image that is used by one of its names is used by all. Pure."""
    named = [{full_name(name) for name in image.names} for image in present]
    return used.union(*(names for names in named if not used.isdisjoint(names)))


def used_images(pods: Iterable[core.Pod], observed: Iterable[PodObservation]) -> set[str]:
    """The full names of images that containers are made of, or are to be, or that pods show as volumes. Pure."""
    pods = list(pods)
    names = {spec.image for pod in pods for spec in every_container(pod.spec)}
    names |= {volume.volume_source.image.reference for pod in pods for volume in pod.spec.volumes}
    names |= {container.image for found in observed for container in found.containers}
    return {full_name(name) for name in names if name}
