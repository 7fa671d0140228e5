"""Blobs that are given to containerd, where it has some already."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from knarr.api.containerd.content.v1 import content_pb2 as content
from knarr.api.containerd.content.v1 import content_pb2_grpc
from services.kubelet.runtime.cri.engine import Engine, EngineError

CHUNK = bytes(1 << 20)
PIECES = 24


class Store(content_pb2_grpc.ContentServicer):
    """Answers each message, as containerd does, and has some blobs before the first one."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.broken: set[str] = set()

    async def Write(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        got = 0
        async for request in requests:
            if request.expected in self.there:
                await context.abort(grpc.StatusCode.ALREADY_EXISTS, f"content {request.expected} already exists")
            if request.expected in self.broken:
                await context.abort(grpc.StatusCode.UNKNOWN, "no space left on device")
            got += len(request.data)
            if request.action == content.COMMIT:
                assert got == request.total
                self.there.add(request.expected)
            yield content.WriteContentResponse(action=request.action, offset=got, total=request.total)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[tuple[Engine, Store]]:
    server, store = grpc.aio.server(), Store()
    content_pb2_grpc.add_ContentServicer_to_server(store, server)
    server.add_insecure_port(f"unix:{tmp_path}/containerd.sock")
    await server.start()
    engine = Engine(f"unix://{tmp_path}/containerd.sock", 20.0)
    yield engine, store
    await engine.close()
    await server.stop(0)


def pieces(digest: str) -> Iterator[Any]:
    for number in range(PIECES):
        yield content.WriteContentRequest(
            action=content.COMMIT if number == PIECES - 1 else content.WRITE,
            ref="r",
            total=PIECES * len(CHUNK),
            expected=digest,
            offset=number * len(CHUNK),
            data=CHUNK,
        )


async def test_a_blob_in_many_pieces_that_is_there_already_stays(store: tuple[Engine, Store]) -> None:
    engine, kept = store
    await engine.stream_content(pieces("sha256:new"), "lease")
    assert kept.there == {"sha256:new"}
    for _ in range(20):
        await engine.stream_content(pieces("sha256:new"), "lease")


async def test_what_the_engine_says_against_a_blob_is_told(store: tuple[Engine, Store]) -> None:
    engine, kept = store
    kept.broken.add("sha256:new")
    for _ in range(20):
        with pytest.raises(EngineError, match="no space left on device"):
            await engine.stream_content(pieces("sha256:new"), "lease")
