"""NodeTtl: says on each Node how long its kubelet may go by what it has read of ConfigMaps and Secrets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, key_of
from services.controller.controller import Context, Controller
from services.controller.controllers.nodettl.decide import STEPS, TTL, step_of


class NodeTtlController(Controller):
    name = "nodettl"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._step = 0
        self._nodes = self.reads(core.Node)
        self.hears(core.Node, self._node_changed)

    @property
    def _wanted(self) -> str:
        return str(STEPS[self._step].seconds)

    def _node_changed(self, old: core.Node | None, new: core.Node | None) -> Iterable[Key]:
        step = step_of(len(self._nodes), self._step)
        if step != self._step:
            self._step = step
            return self._nodes
        return [key_of(new)] if new is not None and new.metadata.annotations.get(TTL) != self._wanted else []

    async def reconcile(self, key: Key) -> Again | None:
        node = self._nodes.get(*key)
        if node is not None and node.metadata.annotations.get(TTL) != self._wanted:
            wanted = copy_of(node)
            wanted.metadata.annotations[TTL] = self._wanted
            # What somebody else wrote meanwhile brings it again.
            with contextlib.suppress(Conflict, NotFound):
                await self.client.update(wanted)
        return None
