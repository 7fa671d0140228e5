"""How a starting cluster tells the person who waits what it is doing.

The background process writes one JSON object a line to a pipe that the CLI reads:
``{"step": "etcd", "seconds": 0.31}``, and at last ``{"ready": {...}}`` or ``{"error": "..."}``.
"""

from __future__ import annotations

import os
import time
from typing import Any

import orjson


class Progress:
    """The writing end. Without a pipe (in the foreground) it only keeps the time: since the monotonic clock's ``since``, else from now."""

    def __init__(self, file_descriptor: int | None = None, since: float | None = None) -> None:
        self._fd = file_descriptor
        self._started = time.monotonic() if since is None else since

    def step(self, name: str) -> None:
        """Says that ``name`` is done."""
        self._write({"step": name, "seconds": round(time.monotonic() - self._started, 2)})

    def ready(self, facts: dict[str, Any]) -> None:
        self._write({"ready": facts, "seconds": round(time.monotonic() - self._started, 2)})
        self._close()

    def error(self, text: str) -> None:
        self._write({"error": text})
        self._close()

    def _write(self, fields: dict[str, Any]) -> None:
        if self._fd is None:
            return
        try:
            os.write(self._fd, orjson.dumps(fields) + b"\n")
        except BrokenPipeError:
            # Whoever waited has gone; the cluster goes on.
            self._close()

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
