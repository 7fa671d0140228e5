"""Ephemeral volume: makes the claims that pods' generic ephemeral volumes ask for. They go with their pod, by the garbage collector."""

from __future__ import annotations

from collections.abc import Iterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.controller import is_gone
from knarr.client.events import WARNING
from knarr.client.reconciler import Again
from knarr.machinery.errors import AlreadyExists, StatusError
from knarr.objects.keys import Key
from knarr.objects.owners import controller_key
from knarr.objects.volumes import strange
from services.controller.controller import Context, Controller
from services.controller.controllers.ephemeralvolume.decide import Wanted, decide, has_ephemeral

FAILED = "FailedBinding"
# Nothing tells that a claim has gone which is not the pod's.
RETRY_SECONDS = 15.0


class EphemeralVolumeController(Controller):
    """Its keys are those of pods."""

    name = "ephemeralvolume"
    speaks_as = "ephemeral_volume"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        # What a pod's volumes are never changes.
        self._pods = self.watches(core.Pod, when=_is_new)
        self._claims = self.watches(core.PersistentVolumeClaim, mapped=_pod_of, when=is_gone)

    async def reconcile(self, key: Key) -> Again | None:
        pod = self._pods.get(*key)
        if pod is None:
            return None
        held = False
        for wanted in decide(pod, lambda name: self._claims.get(key.namespace, name)):
            try:
                problem = wanted.problem or await self._make(pod, wanted.claim)
            except StatusError as error:
                self._tell(pod, wanted, f"create PVC {wanted.claim.metadata.name}: {error}")
                raise
            if problem:
                self._tell(pod, wanted, problem)
                held = True
        return Again(RETRY_SECONDS) if held else None

    async def _make(self, pod: core.Pod, claim: core.PersistentVolumeClaim) -> str:
        """Answers whose it is instead, if it is another's. Raises StatusError."""
        try:
            await self.client.create(claim)
        except AlreadyExists:
            # The watch may be behind.
            return strange(pod, await self.client.get(core.PersistentVolumeClaim, claim.metadata.name, claim.metadata.namespace))
        return ""

    def _tell(self, pod: core.Pod, wanted: Wanted, problem: str) -> None:
        self.recorder.event(pod, WARNING, FAILED, f"ephemeral volume {wanted.volume}: {problem}")


def _is_new(old: core.Pod | None, new: core.Pod | None) -> bool:
    return new is not None and has_ephemeral(new) and (old is None or old.metadata.uid != new.metadata.uid)


def _pod_of(claim: core.PersistentVolumeClaim) -> Iterator[Key]:
    """Whose it was: one that somebody deletes is made anew while the pod is there."""
    if (key := controller_key(claim, core.Pod)) is not None:
        yield key
