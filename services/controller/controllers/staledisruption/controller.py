"""Stale disruption: takes back what is said of a pod's coming end when the end does not come."""

from __future__ import annotations

import contextlib
import logging

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.reconciler import Again
from knarr.machinery.errors import NotFound
from knarr.objects.conditions import set_condition
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key
from services.controller.controller import Context, Controller
from services.controller.controllers.staledisruption.decide import DISRUPTION_TARGET, claims, seconds_left

logger = logging.getLogger(__name__)


class StaleDisruptionController(Controller):
    name = "staledisruption"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._pods = self.watches(core.Pod, when=_claims)

    async def reconcile(self, key: Key) -> Again | None:
        pod = self._pods.get(*key)
        if pod is None or not claims(pod):
            return None
        now = self.context.clock.now()
        if left := seconds_left(pod, now):
            # A little later than due, so that it is due for sure.
            return Again(left + 0.01)
        changed = copy_of(pod)
        set_condition(changed.status, DISRUPTION_TARGET, False, now=now, generation=pod.metadata.generation)
        with contextlib.suppress(NotFound):
            await self.client.update(changed, subresource="status")
            logger.info("a pod was to be disrupted and was not", extra={"pod": str(key)})
        return None


def _claims(old: core.Pod | None, new: core.Pod | None) -> bool:
    return new is not None and claims(new)
