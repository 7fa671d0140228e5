"""How the accounts of an image are read from an engine: once, whatever it shows of them."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from services.kubelet.runtime.docker.accounts import MAX_BYTES, EngineAccounts
from services.kubelet.runtime.docker.engine import Engine, EngineConflict, EngineNotFound
from services.kubelet.runtime.docker.unstarted import UnstartedContainers
from services.kubelet.runtime.port import Accounts, RuntimeFailure


class FakeEngine:
    """Shows ``files`` of every container: texts, or where links lead. Names are taken while their containers are there."""

    def __init__(self, files: Mapping[str, bytes | str]) -> None:
        self.files = files
        self.made = 0
        self.there: dict[str, str] = {}

    async def request(self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None) -> Any:
        await asyncio.sleep(0)
        if method == "DELETE":
            del self.there[path.rpartition("/")[2]]
            return None
        name = (params or {}).get("name", "")
        if name and name in self.there.values():
            raise EngineConflict(409, "the name is in use")
        self.made += 1
        self.there[str(self.made)] = name
        return {"Id": str(self.made)}

    @asynccontextmanager
    async def stream(self, method: str, path: str, *, params: Mapping[str, str]) -> AsyncIterator[AsyncIterator[bytes]]:
        found = self.files.get(params["path"])
        if found is None:
            raise EngineNotFound(404, "no such file")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            entry = tarfile.TarInfo("name")
            if isinstance(found, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, found
                archive.addfile(entry)
            else:
                entry.size = len(found)
                archive.addfile(entry, io.BytesIO(found))
        yield _pieces(buffer.getvalue())


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1 << 16):
        yield data[start : start + (1 << 16)]


def accounts(files: Mapping[str, bytes | str]) -> tuple[FakeEngine, EngineAccounts]:
    engine = FakeEngine(files)
    return engine, EngineAccounts(UnstartedContainers(cast(Engine, engine), {}))


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"/etc/passwd": b"a", "/etc/group": b"b"}, Accounts("a", "b")),
        ({}, Accounts()),
        ({"/etc/passwd": "/lib/passwd", "/lib/passwd": "deep/own", "/lib/deep/own": b"a"}, Accounts("a")),
        ({"/etc/passwd": "/nowhere", "/etc/group": b"\xff"}, Accounts("", "\ufffd")),
    ],
    ids=["both", "none", "by links", "what is no text"],
)
async def test_accounts_are_what_the_image_has(files: Mapping[str, bytes | str], found: Accounts) -> None:
    engine, read = accounts(files)
    assert await read.get("sha256:image") == found and not engine.there


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"/etc/passwd": "/etc/passwd"}, "leads round in a circle"),
        ({"/etc/passwd": b"x" * (MAX_BYTES + 1)}, "is larger than"),
    ],
)
async def test_an_image_that_would_hold_up_the_kubelet_is_not_read(files: Mapping[str, bytes | str], words: str) -> None:
    engine, read = accounts(files)
    with pytest.raises(RuntimeFailure, match=words):
        await read.get("sha256:image")
    assert not engine.there


async def test_an_image_is_read_once_however_many_ask() -> None:
    engine, read = accounts({"/etc/passwd": b"a"})
    assert await asyncio.gather(*(read.get("sha256:image") for _ in range(50))) == [Accounts("a")] * 50
    assert engine.made == 1


async def test_a_name_that_is_taken_is_no_hindrance() -> None:
    """By another kubelet of the engine, or one that was cut off."""
    engine, read = accounts({"/etc/passwd": b"a"})
    engine.there["other"] = "knarr_unstarted_image"
    assert await read.get("sha256:image") == Accounts("a") and list(engine.there) == ["other"]
