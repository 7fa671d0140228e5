"""JobRelease: lets go of pods whose Job is gone, is over or has released them, so that whoever deletes them can."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.controller import is_there
from knarr.client.index import Index
from knarr.client.reconciler import Again
from knarr.machinery.errors import NotFound
from knarr.objects.jobs import is_finished, is_tracked
from knarr.objects.keys import Key, key_of
from knarr.objects.owners import controller_key, controller_of
from services.controller.controller import Context, Controller
from services.controller.controllers.jobrelease.decide import belongs_to_others, is_uncounted_for_good
from services.controller.tracking import release


def _tracked_by(pod: core.Pod) -> list[str]:
    ref = controller_of(pod)
    return [ref.uid] if ref is not None and is_tracked(pod) else []


# By the uid of the Job that has not counted them.
TRACKED: Index[core.Pod] = Index("pods that a Job has not counted", _tracked_by)


class JobReleaseController(Controller):
    name = "jobrelease"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._pods = self.watches(core.Pod, TRACKED, when=is_there)
        self._jobs = self.hears(batch.Job, self._pods_of_over)

    async def reconcile(self, key: Key) -> Again | None:
        pod = self._pods.get(*key)
        if pod is None or not is_tracked(pod) or belongs_to_others(pod):
            return None
        if is_uncounted_for_good(pod, await self._job_of(pod)) and (failure := await release(self.client, pod)):
            raise failure
        return None

    async def _job_of(self, pod: core.Pod) -> batch.Job | None:
        """As it is known, unless it is not known as the pod knows it: then by the server's word."""
        key, ref = controller_key(pod, batch.Job), controller_of(pod)
        if key is None or ref is None:
            return None
        job = self._jobs.get(*key)
        if job is not None and job.metadata.uid == ref.uid:
            return job
        try:
            return await self.client.get(batch.Job, key.name, key.namespace)
        except NotFound:
            return None

    def _pods_of_over(self, old: Message | None, new: Message | None) -> Iterable[Key]:
        job = new if new is not None else old
        if isinstance(job, batch.Job) and (new is None or is_finished(job)):
            for pod in self._pods.index(TRACKED, job.metadata.uid):
                yield key_of(pod)
