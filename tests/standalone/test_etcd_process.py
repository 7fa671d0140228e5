"""The child etcd: a store that never came to be is begun anew, one that was of use is never touched."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest
from aetcd import rpc

from knarr.client.channel import open_plain_channel
from knarr.service.tasks import cancel
from services.standalone import etcd_process, process
from services.standalone.etcd_process import ASIDE, EtcdProcess
from services.standalone.store import DATA, UNFINISHED, has_state
from tests.support.cluster_client import ROOT

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(60)]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e")


@asynccontextmanager
async def running(folder: Path, *, launched: bool = False) -> AsyncIterator[tuple[EtcdProcess, rpc.KVStub]]:
    etcd = EtcdProcess(folder)
    if launched:
        etcd.launch()
    work = asyncio.create_task(etcd.run(), name="etcd")
    try:
        await etcd.wait_accepting()
        async with open_plain_channel(etcd.endpoint) as channel:
            yield etcd, rpc.KVStub(channel)
    finally:
        await cancel([work])


async def put(store: rpc.KVStub, key: bytes) -> None:
    await store.Put(rpc.PutRequest(key=key), wait_for_ready=True, timeout=20)


async def there(store: rpc.KVStub, key: bytes) -> bool:
    return bool((await store.Range(rpc.RangeRequest(key=key), wait_for_ready=True, timeout=20)).kvs)


def without_entries(folder: Path) -> None:
    """Makes of a store what a kill between the first log file and its first entry leaves: it has a log, and no member."""
    (wal,) = (folder / DATA / "member/wal").glob("*.wal")
    shutil.rmtree(folder / DATA / "member/snap")
    (folder / DATA / "member/snap").mkdir()
    # The records that describe the file itself come first, a few hundred bytes; zeros are its free end.
    head = wal.read_bytes()
    wal.write_bytes(head[:128] + bytes(len(head) - 128))


async def test_a_store_that_was_of_use_is_kept(folder: Path) -> None:
    assert not has_state(folder)
    async with running(folder) as (etcd, store):
        await put(store, b"a")
        assert (folder / UNFINISHED).exists() and not has_state(folder)
        etcd.settle()
        assert has_state(folder)
    async with running(folder) as (_, store):
        assert await there(store, b"a") and has_state(folder)
    assert not (folder / ASIDE).exists()


@pytest.mark.parametrize("launched", [False, True])
async def test_a_store_whose_first_start_was_cut_off_is_begun_anew(folder: Path, caplog: pytest.LogCaptureFixture, launched: bool) -> None:
    async with running(folder) as (_, store):
        await put(store, b"a")
    without_entries(folder)
    with caplog.at_level(logging.WARNING):
        async with running(folder, launched=launched) as (etcd, store):
            assert not await there(store, b"a")
            etcd.settle()
    assert has_state(folder) and (folder / ASIDE / "member").exists()
    assert "was cut off before anybody was served" in caplog.text


async def test_the_mark_is_what_tells(folder: Path) -> None:
    """The same store without it would be waited for in vain."""
    async with running(folder) as (_, store):
        await put(store, b"a")
    without_entries(folder)
    (folder / UNFINISHED).unlink()
    async with running(folder) as (_, store):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await store.Put(rpc.PutRequest(key=b"a"), wait_for_ready=True, timeout=2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_what_was_launched_before_is_taken_over(folder: Path) -> None:
    etcd = EtcdProcess(folder)
    etcd.launch()
    pid = etcd.pid
    assert pid and (folder / UNFINISHED).exists()
    work = asyncio.create_task(etcd.run(), name="etcd")
    await etcd.wait_accepting()
    assert etcd.pid == pid
    await cancel([work])
    assert not etcd.pid


async def test_one_that_died_is_started_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_process, "RESTART_SECONDS", 0.0)
    async with running(folder, launched=True) as (etcd, store):
        await put(store, b"a")
        died = etcd.pid
        os.kill(died, signal.SIGKILL)
        while etcd.pid in (0, died):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert await there(store, b"a")


def test_nothing_is_launched_where_no_socket_fits(folder: Path) -> None:
    etcd = EtcdProcess(folder / ("x" * 120))
    etcd.launch()
    assert not etcd.pid and not (folder / ("x" * 120)).exists()


def test_what_is_in_the_way_is_told_when_it_runs(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("")
    etcd = EtcdProcess(folder)
    etcd.launch()
    assert not etcd.pid
    with pytest.raises(FileExistsError):
        asyncio.run(etcd.run())


@pytest.mark.parametrize(("parent", "code"), [(os.getpid, 0), (lambda: 1 << 22, 1)], ids=["there", "gone"])
def test_a_child_whose_parent_has_ended_before_it_began_ends(parent: Callable[[], int], code: int) -> None:
    """Nobody would tell it of that any more."""
    assert subprocess.run([sys.executable, "-c", ""], check=False, preexec_fn=partial(etcd_process.die_with, parent())).returncode == code


# Starts a child that dies with it, stops that and ends without a word to it.
PARENT = """
import os, signal, subprocess
from functools import partial
from services.standalone.etcd_process import die_with
child = subprocess.Popen(["sleep", "100"], preexec_fn=partial(die_with, os.getpid()))
os.kill(child.pid, signal.SIGSTOP)
os.waitid(os.P_PID, child.pid, os.WSTOPPED)
print(child.pid, flush=True)
os._exit(0)
"""


def test_a_child_that_is_stopped_ends_with_its_parent_too() -> None:
    """It would hold the store of a cluster that was killed while it was paused."""
    ended = subprocess.run([sys.executable, "-c", PARENT], check=True, capture_output=True, text=True, cwd=ROOT)
    child, deadline = int(ended.stdout), time.monotonic() + 20
    while process.start_time(child):
        assert time.monotonic() < deadline
        time.sleep(0.005)
