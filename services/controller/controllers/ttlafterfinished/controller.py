"""TTL after finished: deletes Jobs that are over, with their pods, after the time that they say."""

from __future__ import annotations

import contextlib

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.client.controller import is_there
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.keys import Key
from services.controller.controller import Context, Controller
from services.controller.controllers.ttlafterfinished.decide import seconds_left

# A clock that was set, or a machine that slept, is noticed after so long at the latest.
LONGEST_SECONDS = 60.0
MARGIN_SECONDS = 0.01


class TtlAfterFinishedController(Controller):
    name = "ttlafterfinished"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._jobs = self.watches(batch.Job, when=is_there)

    async def reconcile(self, key: Key) -> Again | None:
        job = self._jobs.get(*key)
        left = None if job is None else seconds_left(job, self.context.clock.now())
        if left == 0:
            with contextlib.suppress(NotFound, Conflict):
                return await self._delete(key)
        return None if not left else Again(min(left + MARGIN_SECONDS, LONGEST_SECONDS))

    async def _delete(self, key: Key) -> Again | None:
        """Its time may have been changed meanwhile: the server is asked."""
        live = await self.client.get(batch.Job, key.name, key.namespace)
        left = seconds_left(live, self.context.clock.now())
        if left == 0:
            metadata = live.metadata
            await self.client.delete(
                batch.Job,
                key.name,
                key.namespace,
                propagation_policy="Foreground",
                uid=metadata.uid,
                resource_version=metadata.resource_version,
            )
        return None if not left else Again(min(left + MARGIN_SECONDS, LONGEST_SECONDS))
