"""Whose word is taken for a log: the engine's files where they are seen, else the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.kubelet.runtime.docker.logs import LOG_FILE, ContainerLogs
from services.kubelet.runtime.port import EXITED, LogOptions
from tests.kubelet.runtime.logs.log_engines import RecordEngine


class AskedEngine:
    async def read(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        yield b"asked"


def logs_of(root: Path | str) -> ContainerLogs:
    observer = SimpleNamespace(state=lambda _: EXITED)
    return ContainerLogs(AskedEngine(), observer, SimpleNamespace(root=str(root)))  # type: ignore[arg-type]


async def told(logs: ContainerLogs) -> bytes:
    return b"".join([data async for data in logs.read("c1", LogOptions(follow=True))])


async def test_files_are_read_where_they_are_seen(tmp_path: Path) -> None:
    folder = (tmp_path / "containers" / "c1" / LOG_FILE).parent
    folder.mkdir(parents=True)
    # Nothing is written before the engine has made the file, and it is away for a moment while it is rotated.
    assert await told(logs_of(tmp_path)) == b""
    with closing(RecordEngine(folder)) as engine:
        engine.write("read")
        assert engine.path.name == LOG_FILE.name
    assert await told(logs_of(tmp_path)) == b"read\n"


@pytest.mark.parametrize("folder", ["", "containers/c2/local-logs", "containers/c1"])
async def test_the_engine_is_asked_where_they_are_not(tmp_path: Path, folder: str) -> None:
    """On another machine; of a container that has another driver."""
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    assert await told(logs_of(tmp_path)) == b"asked"
    assert await told(logs_of("")) == b"asked"
