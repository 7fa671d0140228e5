"""Keeping logs small, also where the disk is full or the kubelet was killed in the midst of it."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.kubelet.runtime.cri.log_files import generations, log_path
from services.kubelet.runtime.cri.log_keeper import LogKeeper
from services.kubelet.runtime.cri.settings import CriSettings
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.port import EXITED, RUNNING, Container, RuntimeFailure

MAX_BYTES, KEPT = 100, 3
FULL = OSError(errno.ENOSPC, "No space left on device")


@dataclass
class Node:
    """An engine that writes the logs of containers, and is told to make new files; ``refuses`` is what it says instead."""

    folder: Path
    open: dict[str, Any] = field(default_factory=dict)
    containers: list[Container] = field(default_factory=list)
    refuses: str = ""
    pod: PodRef = field(default_factory=lambda: PodRef("default", "web", "uid"))

    def __post_init__(self) -> None:
        self.stack = ExitStack()
        settings = CriSettings("c", "n", "", "", logs=self.folder, log_max_bytes=MAX_BYTES, log_max_files=KEPT)
        pods = SimpleNamespace(pods={"uid": self})
        self.keeper = LogKeeper(self, settings, SimpleNamespace(observations=pods))  # type: ignore[arg-type]

    @property
    def ref(self) -> PodRef:
        return self.pod

    def path(self, name: str) -> Path:
        return log_path(self.folder, self.pod, name, 0)

    def add(self, name: str, state: str = RUNNING) -> Path:
        self.containers.append(Container(name, name, 0, state))
        self.path(name).parent.mkdir(parents=True)
        self.make(name)
        return self.path(name)

    def make(self, name: str) -> None:
        self.open[name] = self.stack.enter_context(self.path(name).open("ab", buffering=0))

    def write(self, name: str, size: int = MAX_BYTES + 1) -> None:
        self.open[name].write(b"x" * size)

    async def runtime(self, call: str, request: Any) -> None:
        assert call == "ReopenContainerLog"
        if self.refuses:
            raise RuntimeFailure(self.refuses)
        self.make(request.container_id)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    with made.stack:
        yield made


def sizes(path: Path) -> list[int]:
    return [file.stat().st_size for file in generations(path)]


async def test_what_is_large_is_rotated_and_the_oldest_goes(node: Node) -> None:
    path, ended = node.add("app"), node.add("ended", EXITED)
    node.write("ended")
    for number in range(5):
        node.write("app", MAX_BYTES + 1 + number)
        await node.keeper.look()
        await node.keeper.look()
    assert sizes(path) == [104, 105, 0] and sizes(ended) == [101]


async def test_the_oldest_goes_also_where_the_clock_was_set_back(node: Node) -> None:
    path = node.add("app")
    path.with_name(f"{path.name}.20990101-000000.999999").write_bytes(b"first")
    for number in range(2):
        node.write("app", MAX_BYTES + 1 + number)
        await node.keeper.look()
    assert sizes(path) == [101, 102, 0]
    assert generations(path)[0].name == f"{path.name}.20990101-000001.000000"


async def test_a_file_that_cannot_be_renamed_is_rotated_later(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    paths = node.add("app"), node.add("other")

    def rename(self: Path, _: Path) -> None:
        raise FULL

    for name in ("app", "other"):
        node.write(name)
    with monkeypatch.context() as full, caplog.at_level(logging.WARNING):
        full.setattr(Path, "rename", rename)
        await node.keeper.look()
    assert [sizes(path) for path in paths] == [[101], [101]]
    assert len(caplog.records) == 2
    await node.keeper.look()
    assert [sizes(path) for path in paths] == [[101, 0], [101, 0]]


async def test_where_the_engine_has_no_room_for_another_file_it_goes_on_with_the_one_it_has(node: Node) -> None:
    path = node.add("app")
    node.write("app")
    node.refuses = "failed to create container log file: no space left on device"
    for _ in range(3):
        await node.keeper.look()
        assert generations(path) == [path]
    node.write("app")
    node.refuses = ""
    await node.keeper.look()
    assert sizes(path) == [202, 0]


async def test_the_oldest_makes_room_before_another_file_is_asked_for(node: Node) -> None:
    path = node.add("app")
    for _ in range(KEPT):
        node.write("app")
        await node.keeper.look()
    node.write("app")
    node.refuses = "no space left on device"
    await node.keeper.look()
    assert sizes(path) == [101, 101]
    await node.keeper.look()
    assert sizes(path) == [101, 101]


async def test_a_log_that_was_renamed_and_nothing_else_is_made_anew(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a kubelet that was killed then, or that could not take it back."""
    path, rename = node.add("app"), Path.rename
    node.write("app")
    node.refuses, renamed = "connection refused", 0

    def once(self: Path, target: Path) -> Path:
        nonlocal renamed
        renamed += 1
        if renamed > 1:
            raise FULL
        return rename(self, target)

    with monkeypatch.context() as full:
        full.setattr(Path, "rename", once)
        await node.keeper.look()
    assert not path.exists() and len(generations(path)) == 1
    await node.keeper.look()
    node.refuses = ""
    await node.keeper.look()
    node.write("app", 7)
    assert sizes(path) == [101, 7]


async def test_a_container_that_has_no_log_yet_is_let_be(node: Node) -> None:
    path = node.add("app")
    path.unlink()
    node.refuses = "not asked for"
    await node.keeper.look()
    assert generations(path) == []
