"""What several of the kubelet's tests stand on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.kubelet.node.files import NodeFiles
from services.kubelet.node.mounts import unmount_all
from tests.kubelet.containerd_support import Containerd, containerd


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    unmount_all(tmp_path)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder whose name is short: that of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="knarr-") as name:
        yield Path(name)
        unmount_all(Path(name))


@pytest.fixture(scope="session")
def own_containerd() -> Iterator[Containerd]:
    """One for all tests of a session: it takes two seconds to start."""
    with containerd() as made:
        yield made


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lays files without a thread: on virtual time nobody waits for one."""

    async def call(self: NodeFiles, work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    monkeypatch.setattr(NodeFiles, "call", call)
