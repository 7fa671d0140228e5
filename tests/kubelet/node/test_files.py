"""Work on the node's files happens among the mounts of the machine, and only there."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.kubelet.node.files import NodeFiles
from services.kubelet.pod.contents import EmptyDirectory, File, Files
from services.kubelet.pod.directory import PodDirectory

# A process with mounts of its own: it says so when it has them, and waits to be ended.
MACHINE = "print('ready', flush=True); input()"


@pytest.fixture
def machine() -> Iterator[int]:
    """The process id of something with its own mounts."""
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", MACHINE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process.pid
        finally:
            process.terminate()


@pytest.fixture
def ended() -> int:
    """The process id of something that is no more."""
    with subprocess.Popen(["true"]) as process:
        return process.pid


def mounts(of: int | str = "self") -> str:
    return Path(f"/proc/{of}/mounts").read_text()


@pytest.mark.net
async def test_a_memory_volume_is_mounted_where_the_machine_sees_it(machine: int, tmp_path: Path) -> None:
    files, directory = NodeFiles(machine), PodDirectory(tmp_path, "uid")
    point = str(directory.volume_path("fast"))
    try:
        async with asyncio.timeout(20):
            for _ in range(3):
                await files.call(directory.set_up, {"fast": EmptyDirectory(memory=True)})
            assert mounts(machine).count(point) == 1
            assert point not in mounts()
            await files.call(directory.remove)
            assert point not in mounts(machine)
            assert not await files.call(directory.root.exists)
    finally:
        files.close()


async def test_a_process_that_is_gone_is_named(ended: int) -> None:
    files = NodeFiles(ended)
    try:
        with pytest.raises(OSError, match=f"cannot join the mounts of process {ended}: No such file or directory"):
            await files.call(Path.cwd)
    finally:
        files.close()


async def test_without_a_process_our_own_mounts_serve() -> None:
    files = NodeFiles()
    assert not files.elsewhere
    assert await files.call(Path.cwd) == Path.cwd()
    files.close()


@pytest.mark.net
async def test_secrets_of_mounts_that_nobody_else_sees_are_kept_on_disk_and_closed(machine: int, tmp_path: Path) -> None:
    """An engine beside such a kubelet would show its containers an empty directory."""
    files, directory = NodeFiles(machine), PodDirectory(tmp_path, "uid")
    secret = Files((File("password", b"s3", 0o400),), secret=True)
    try:
        await files.call(directory.set_up, {"s": secret})
        assert str(directory.volume_path("s")) not in mounts(machine)
        assert (directory.volume_path("s") / "password").read_bytes() == b"s3"
        assert stat.S_IMODE(directory.root.stat().st_mode) & 0o007 == 0
    finally:
        files.close()
