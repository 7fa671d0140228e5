"""``knarr simulate TRACE --record``: what happens in a cluster that runs, written down as a trace. Nothing is changed in it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.channel import open_channel
from knarr.client.client import Client
from knarr.client.informer import Informer
from knarr.client.rpc import RpcClient
from knarr.service.errors import CommandError
from knarr.service.files import PRIVATE, write_whole
from knarr.service.tasks import cancel
from services.command.reach import reached
from services.simulation.recording import GROUNDWORK, WORKLOADS, Recording
from services.standalone.files import Files

# Until everything that there is was read.
PATIENCE_SECONDS = 60.0
HEAD = "# Recorded by `knarr simulate --record`; `knarr simulate FILE` plays it (docs/scale.md).\n"


def record(files: Files, file: Path, seconds: float | None) -> int:
    """Writes the trace, of so many seconds or until one has it end, whole or not at all. Raises CommandError."""
    if file.exists():
        raise CommandError(f"{file} is there already; choose another name")
    if not file.parent.is_dir():
        raise CommandError(f"there is no folder {file.parent}")
    address, token, authority = reached(files, "apiserver")

    async def run() -> tuple[dict[str, Any], Recording]:
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        client = RpcClient(open_channel(address, authority, token))
        try:
            return await follow(client, ended, seconds, lambda: _say(f"recording into {file} {_until(seconds)}"))
        finally:
            await client.close()

    document, recording = asyncio.run(run())
    text = HEAD + yaml.safe_dump(document, sort_keys=False, width=1 << 30)
    write_whole(file, text.encode(), mode=PRIVATE)
    nodes, workloads = sum(group["count"] for group in document["nodes"]), len(document["workloads"])
    _say(f"recorded {document['until']}: {nodes} nodes in the beginning, {workloads} objects")
    for words, count in sorted(recording.left_out.items()):
        _say(f"note: not in the trace: {count} {words}")
    return 0


async def follow(
    client: Client, ended: asyncio.Event, seconds: float | None, on_begin: Callable[[], None] = lambda: None
) -> tuple[dict[str, Any], Recording]:
    """The trace of what happens until ``ended`` is set, or for so long. Raises CommandError where the API server cannot be read."""
    recording, loop = Recording(), asyncio.get_running_loop()
    kinds: list[type[Message]] = [core.Node, *GROUNDWORK, *WORKLOADS, core.Pod]
    informers: dict[type[Message], Informer[Any]] = {kind: Informer(client, kind) for kind in kinds}
    running = [asyncio.create_task(informer.run(), name=f"recording {informer.kind}") for informer in informers.values()]
    try:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*(informer.wait_synced() for informer in informers.values()))
        except TimeoutError:
            raise CommandError(
                f"the API server was not read within {PATIENCE_SECONDS:g} s; `knarr status` says how the cluster is"
            ) from None
        begun: list[float] = []

        def heard(tell: Callable[[float | None, Any, Any], None], old: Any, new: Any) -> None:
            tell(loop.time() - begun[0] if begun else None, old, new)

        for kind, informer in informers.items():
            tell = recording.node if kind is core.Node else recording.pod if kind is core.Pod else recording.workload
            informer.on_change(partial(heard, tell))
        begun.append(loop.time())
        on_begin()
        try:
            async with asyncio.timeout(seconds):
                await ended.wait()
        except TimeoutError:
            pass
        return recording.document(loop.time() - begun[0]), recording
    finally:
        await cancel(running)


def _until(seconds: float | None) -> str:
    return "until Ctrl-C" if seconds is None else f"for {seconds:g} s, or until Ctrl-C"


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
