"""A container's termination message: its message file, or the tail of its log."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import aclosing

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.pod.directory import PodDirectory
from services.kubelet.runtime.port import Container, LogOptions, Runtime, RuntimeFailure

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 4096
MAX_LOG_LINES = 80
MAX_LOG_BYTES = 2048
LOG_SECONDS = 5.0


async def termination_message(runtime: Runtime, directory: PodDirectory, spec: core.Container, container: Container) -> str:
    """The message for the terminated state; empty when there is none."""
    path = directory.termination_log(container.name, container.attempt)
    try:
        with path.open("rb") as file:
            # Of more than that the end is kept: what a program says last is why it ended.
            file.seek(max(os.fstat(file.fileno()).st_size - MAX_MESSAGE_BYTES, 0))
            text = file.read(MAX_MESSAGE_BYTES).decode(errors="replace")
    except OSError:
        text = ""
    if text or spec.termination_message_policy != "FallbackToLogsOnError" or container.exit_code == 0:
        return text
    last = b""
    try:
        async with asyncio.timeout(LOG_SECONDS), aclosing(runtime.logs(container.id, LogOptions(tail_lines=MAX_LOG_LINES))) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                # A line may be as long as a container's whole log.
                last = (last + piece)[-MAX_LOG_BYTES:]
    except (RuntimeFailure, TimeoutError) as error:
        log.info("no log to take a termination message from", extra={"container": container.name, "error": str(error)})
        return ""
    return last.decode(errors="replace")
