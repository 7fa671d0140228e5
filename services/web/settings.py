"""What the page's server of a cluster of several machines must be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.web.guard import LOOPBACK
from services.web.remote_parts import Instance


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What one instance is told."""

    # URL of the REST API, which viewers are known to.
    server: str
    # Where the page is served, over plain HTTP.
    host: str = "127.0.0.1"
    port: int = 8090
    # By which names browsers call it, and at which port where that is another one (0: where it listens).
    names: Sequence[str] = LOOPBACK
    published: int = 0
    # The components that it may ask.
    instances: Sequence[Instance] = ()
    # Where each viewer has a folder for what he has seen; None: it is not kept.
    history: Path | None = None
