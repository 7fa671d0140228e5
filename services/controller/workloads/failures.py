"""How soon a pod that failed is deleted, so that another one is tried: a node that refuses a pod would refuse the next at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.message import Message

from knarr.client.backoff import Backoff
from knarr.objects.keys import Key, key_of

# Of DaemonSets, as in Kubernetes.
BACKOFF = Backoff(first_seconds=1.0, limit_seconds=900.0)


@dataclass(slots=True)
class _Failures:
    count: int
    at: float


class FailedPods:
    """Failures by workload and place in it: a node, an ordinal. Times are seconds of one clock that never goes back.

    A workload's are forgotten with it, and with each new generation, which may have mended what was wrong; a place's, when nothing has
    failed there for twice the longest wait.
    """

    def __init__(self, backoff: Backoff = BACKOFF) -> None:
        self._backoff = backoff
        self._found: dict[Key, tuple[int, dict[str, _Failures]]] = {}

    def held(self, owner: Key, generation: int, place: str, now: float) -> float:
        """For how many seconds pods that failed there are still to be left alone."""
        known = self._of(owner, generation).get(place)
        return 0.0 if known is None else max(known.at + self._backoff.delay(known.count) - now, 0.0)

    def note(self, owner: Key, generation: int, place: str, now: float) -> None:
        """One that failed there is deleted now."""
        places = self._of(owner, generation)
        for name in [name for name, known in places.items() if now - known.at > 2 * self._backoff.limit_seconds]:
            del places[name]
        known = places.setdefault(place, _Failures(0, now))
        known.count, known.at = known.count + 1, now
        self._found[owner] = generation, places

    def forget(self, owner: Key) -> None:
        self._found.pop(owner, None)

    def forget_gone(self, old: Message | None, new: Message | None) -> Iterable[Key]:
        """For a controller that ``hears`` of its workloads: nothing is enqueued by it."""
        if new is None and old is not None:
            self.forget(key_of(old))
        return ()

    def _of(self, owner: Key, generation: int) -> dict[str, _Failures]:
        known, places = self._found.get(owner, (generation, {}))
        return places if known == generation else {}
