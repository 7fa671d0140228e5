"""Tells the owners of Services, and of pods with host ports, what of their wishes this node cannot do.

By an Event, once for each set of reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import WARNING, EventRecorder

REASON = "NotFullyServed"

Service = tuple[str, str]


class Reporter:
    """Compares what is missing with what was said. ``look`` at Services after each change, and again now and then."""

    def __init__(
        self,
        recorder: EventRecorder,
        node_name: str,
        stored: Callable[[str, str], core.Service | core.Pod | None],
        missing: Callable[[Service], Iterable[str]],
    ) -> None:
        """``missing``: what cannot be done of a Service's wishes, in words."""
        self._recorder = recorder
        self._where = f"Node {node_name}" if node_name else "A node"
        self._stored = stored
        self._missing = missing
        self._said: dict[Service, tuple[str, ...]] = {}

    @property
    def mentioned(self) -> Set[Service]:
        """The Services of which something is missing, as was said."""
        return self._said.keys()

    def look(self, services: Iterable[Service]) -> None:
        """Says what is new about these Services."""
        for service in services:
            missing = tuple(dict.fromkeys(self._missing(service)))
            if missing == self._said.get(service, ()):
                continue
            stored = self._stored(*service)
            if missing and stored is not None:
                self._said[service] = missing
                self._recorder.event(stored, WARNING, REASON, f"{self._where}: {'; '.join(missing)}")
            else:
                self._said.pop(service, None)
