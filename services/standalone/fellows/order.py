"""What the process that begins fellows is told, and what it tells: one message a line of JSON, by a pair of sockets that keeps messages
apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from services.standalone.settings import ClusterSettings

# Far more than an order has.
MOST_BYTES = 1 << 17


@dataclass(frozen=True, slots=True)
class Start:
    """Begin a fellow. ``address`` is that of the machine's own node; ``container`` has the fellow's network, ``pid`` is its process."""

    number: int
    address: str
    container: str
    pid: int
    data_dir: str
    settings: dict[str, Any]

    @property
    def cluster(self) -> ClusterSettings:
        return ClusterSettings.of(Path(self.data_dir), self.settings)


@dataclass(frozen=True, slots=True)
class Stop:
    """End one."""

    number: int


@dataclass(frozen=True, slots=True)
class Ended:
    """One has ended, by an exit code or by the signal of a negative one."""

    number: int
    code: int


Message = Start | Stop | Ended
_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in (Start, Stop, Ended)}


def written(message: Message) -> bytes:
    return orjson.dumps({"kind": type(message).__name__, **asdict(message)})


def read(data: bytes) -> Message:
    values = orjson.loads(data)
    return _KINDS[values.pop("kind")](**values)
