"""What the controller knows of its Jobs that no cache shows: what it has written last, which pods it has let go, how long it waits."""

from __future__ import annotations

from dataclasses import dataclass, field

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.jobs import is_tracked
from services.controller.controllers.job.backoff import Backoff
from services.controller.newest import is_older


@dataclass(slots=True)
class Memory:
    """Of one Job. ``job`` is the newest that was read or written beside the cache; ``released`` are uids of pods without the tracking
    finalizer that the cache still shows with it; ``backoff`` is None until it was made out."""

    job: batch.Job | None = None
    released: set[str] = field(default_factory=set)
    backoff: Backoff | None = None

    def newest(self, cached: batch.Job) -> batch.Job:
        """The cached Job, or the one that is known to be newer."""
        return self.job if self.job is not None and is_older(cached.metadata.resource_version, self.job) else cached

    def shows(self, pod: core.Pod, *, gone: bool) -> None:
        """A watch shows a pod."""
        if gone or not is_tracked(pod):
            self.released.discard(pod.metadata.uid)


class Memories:
    """By the uids of Jobs that are not over."""

    def __init__(self) -> None:
        self._memories: dict[str, Memory] = {}

    def of(self, uid: str) -> Memory:
        return self._memories.setdefault(uid, Memory())

    def known(self, uid: str) -> Memory | None:
        return self._memories.get(uid)

    def forget(self, uid: str) -> None:
        self._memories.pop(uid, None)
