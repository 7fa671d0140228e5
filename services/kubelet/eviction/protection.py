"""All by which a node protects itself: its signals, evictions, limits of disk and images that are given up, made and run together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.eviction.decide import Rules
from services.kubelet.eviction.images import ImageKeeper
from services.kubelet.eviction.keeper import EvictionKeeper
from services.kubelet.eviction.local_storage import LocalStorage
from services.kubelet.eviction.measure import Evictable, Meter
from services.kubelet.eviction.reclaim import Reclaimer
from services.kubelet.eviction.signals import GivenSignals, MachineSignals, SignalReader
from services.kubelet.node.image_garbage import PulledImages
from services.kubelet.node.machine import Pressure
from services.kubelet.node.pull_ledger import PullLedger
from services.kubelet.pod.context import NodeContext


class NodeProtection:
    """Of one node. ``pods`` answers those that may be ended; ``node`` the Node as the API has it, None: not yet."""

    def __init__(
        self,
        context: NodeContext,
        pulled: PulledImages,
        pulls: PullLedger,
        pods: Callable[[], Collection[Evictable]],
        node: Callable[[], core.Node | None],
        signals: SignalReader | None,
    ) -> None:
        """``signals`` tells what the node is short of; by default that is read of the machine, or of a simulated node nothing."""
        settings, runtime, recorder, clock = context.settings, context.runtime, context.recorder, context.clock
        self._context, self._pulled, self._node = context, pulled, node
        self.signals = signals or self._own_signals()
        meter = Meter(runtime, context.files)
        self._images = ImageKeeper(
            settings.image_garbage, runtime, pulled, pulls, lambda: [found.pod for found in pods()], self.signals, recorder, clock
        )
        rules = Rules(settings.thresholds, timedelta(seconds=settings.pressure_transition_seconds), settings.eviction_max_pod_grace_seconds)
        reclaim = Reclaimer(pods, self._images.remove_unused).reclaim
        self._evictions = EvictionKeeper(rules, self.signals, pods, meter, reclaim, recorder, clock)
        self._local_storage = LocalStorage(pods, meter, context.files, lambda: self.signals.apart)

    @property
    def pressure(self) -> Pressure:
        return self._evictions.pressure

    def on_change(self, listener: Callable[[], None]) -> None:
        """Calls back after ``pressure`` changed."""
        self._evictions.on_change(listener)

    def parts(self, engine_tried: Callable[[], Awaitable[object]]) -> dict[str, Coroutine[Any, Any, None]]:
        """What runs until cancelled, by name. Evictions look from the start: what is short is known before pods are taken."""
        return {
            "evictions": self._evictions.run(self._node),
            "local storage": self._local_storage.run(),
            "images": self._keep_images(engine_tried),
        }

    async def _keep_images(self, engine_tried: Callable[[], Awaitable[object]]) -> None:
        await engine_tried()
        self._pulled.read()
        await self._images.run(self._node)

    def _own_signals(self) -> SignalReader:
        context = self._context
        if not context.runtime.uses_machine:
            return GivenSignals()
        return MachineSignals(context.settings.data_dir, context.files, self._images_folder, context.groups.memory)

    def _images_folder(self) -> Path | None:
        return Path(folder) if (folder := self._context.runtime.images_folder) else None
