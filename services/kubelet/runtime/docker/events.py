"""The engine's event stream as typed events. Pure parsing, one line at a time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from services.kubelet.runtime.docker.observations import from_nanoseconds

ACTIONS = ("start", "die", "destroy", "oom")


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """``action`` is start, die, destroy or oom; ``attributes`` hold the labels."""

    action: str
    id: str
    at: datetime
    attributes: Mapping[str, str]

    @property
    def exit_code(self) -> int:
        """The exit code that a ``die`` tells; 0 for other events."""
        return int(self.attributes.get("exitCode", "0"))


def parse_event(line: bytes) -> EngineEvent:
    """One line of the stream."""
    data = json.loads(line)
    return EngineEvent(data["Action"], data["Actor"]["ID"], from_nanoseconds(int(data["timeNano"])), data["Actor"].get("Attributes") or {})


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cuts a byte stream into lines; an unfinished last one is dropped."""
    buffer = b""
    async for chunk in chunks:
        *complete, buffer = (buffer + chunk).split(b"\n")
        for line in complete:
            if line.strip():
                yield line
