"""What runs on a node without being a container of its engine, and is shown as a pod all the same: the control plane's components where
one process is all of them.

Who makes the kubelet says what there is; the kubelet keeps the mirror pods, tells by their status how the parts are, and passes on their
logs and ports. It starts and ends none of them.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    # A cluster's process knows of runs before it has loaded what containers are.
    from services.kubelet.runtime.port import LogOptions


@dataclass(frozen=True, slots=True)
class End:
    """How a run of a part ended: ``code`` as of a process, ``words`` what it said."""

    began: datetime
    ended: datetime
    code: int
    words: str = ""


@dataclass(frozen=True, slots=True)
class Course:
    """One look at a part. ``process`` tells the process that runs it from all others that ever were, ``number`` counts the part's runs
    in it, from 0 on."""

    process: str
    number: int
    ready: bool
    # Since when it runs; None: it does not, and will be begun again.
    began: datetime | None
    # How the run before ended, if there was one in this process.
    last: End | None = None


class PartLog(Protocol):
    """The lines that a part has written, and goes on to write."""

    def read(self, options: LogOptions, since: datetime | None, until: datetime | None) -> AsyncIterator[bytes]:
        """Those from ``since`` until before ``until``; None: no bound. Whole lines, as a runtime's log has them."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of them. ``name`` is its container's, and its pod's before the node's name."""

    name: str
    image: str
    # As of a process of Kubernetes' that does the same; who looks for the cluster's ranges reads them here.
    command: tuple[str, ...]
    labels: Mapping[str, str]
    course: Callable[[], Course]
    log: PartLog
    # A connection to a port of it, on the machine it runs on; raises StatusError.
    dial: Callable[[int], Awaitable[socket.socket]]
    # Said to who would run a command in it: where else to look.
    way_out: str = ""


@dataclass(frozen=True, slots=True)
class NodeParts:
    """The parts of one node. Nothing is told of them before ``due`` says so: who starts a cluster has better to do."""

    parts: tuple[Part, ...] = ()
    due: Callable[[], Awaitable[object]] = field(default=lambda: _at_once())


async def _at_once() -> None:
    return None


NO_PARTS = NodeParts()
