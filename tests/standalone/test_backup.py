"""`knarr backup` and `knarr restore` on a real etcd: nothing is lost, nothing is half done, damage is told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import grpc.aio
import pytest
from aetcd import rpc

from knarr.service.errors import CommandError
from services.standalone import process
from services.standalone.backup import snapshot
from services.standalone.backup.backup import backup, restore
from services.standalone.files import Files
from tests.support.etcd import EtcdServer, running_etcd

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(60)]
# Enough for a stream of many messages.
KEYS, VALUE_BYTES = 300, 20_000


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    folder = tmp_path / "source"
    folder.mkdir()
    with running_etcd(folder) as server:
        yield server


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "k")


async def fill(etcd: EtcdServer, keys: int = KEYS) -> None:
    async with grpc.aio.insecure_channel(etcd.endpoint) as channel:
        store = rpc.KVStub(channel)
        for number in range(keys):
            value = f"{number}".encode() * (VALUE_BYTES // len(f"{number}"))
            await store.Put(rpc.PutRequest(key=f"/registry/configmaps/default/c-{number}".encode(), value=value))
        await store.DeleteRange(rpc.DeleteRangeRequest(key=b"/registry/configmaps/default/c-7"))


async def content(endpoint: str) -> tuple[dict[bytes, tuple[bytes, int, int]], int]:
    """All keys with value, version and revision, and the store's revision."""
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(endpoint, options=options) as channel:
        answer = await rpc.KVStub(channel).Range(rpc.RangeRequest(key=b"\0", range_end=b"\0"), wait_for_ready=True, timeout=20)
    return {kv.key: (kv.value, kv.version, kv.mod_revision) for kv in answer.kvs}, answer.header.revision


def taken(etcd: EtcdServer, path: Path) -> snapshot.Facts:
    return asyncio.run(snapshot.take(etcd.endpoint, path, lambda done, total: None))


def restored_content(files: Files, tmp_path: Path) -> tuple[dict[bytes, tuple[bytes, int, int]], int]:
    """What an etcd finds in the data directory of a restored cluster."""
    folder = tmp_path / "restored"
    folder.mkdir()
    (folder / "data").symlink_to(files.etcd / "data")
    with running_etcd(folder) as server:
        return asyncio.run(content(server.endpoint))


def test_what_was_stored_is_there_again(etcd: EtcdServer, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(fill(etcd))
    before = asyncio.run(content(etcd.endpoint))
    steps: list[tuple[int, int]] = []
    path = tmp_path / "state.db"
    facts = asyncio.run(snapshot.take(etcd.endpoint, path, lambda done, total: steps.append((done, total))))
    assert facts.revision == before[1] and path.stat().st_size == facts.size_bytes > KEYS * VALUE_BYTES
    assert path.stat().st_mode & 0o777 == 0o600 and not list(tmp_path.glob("*.part"))
    assert len(steps) > 10 and [done for done, _ in steps] == sorted(done for done, _ in steps) and steps[-1][0] == facts.size_bytes
    restore(files, path, replace=False)
    assert f"as of revision {before[1]}" in capsys.readouterr().out
    assert restored_content(files, tmp_path) == before


def test_a_state_that_is_there_is_kept(etcd: EtcdServer, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(fill(etcd, 8))
    taken(etcd, tmp_path / "state.db")
    restore(files, tmp_path / "state.db", replace=False)
    (files.etcd / "data/member/mark").touch()
    with pytest.raises(CommandError, match="has a state already; `knarr restore --replace"):
        restore(files, tmp_path / "state.db", replace=False)
    assert (files.etcd / "data/member/mark").exists()
    for count in (1, 2):
        restore(files, tmp_path / "state.db", replace=True)
        assert not (files.etcd / "data/member/mark").exists()
        asides = sorted(files.etcd.glob("data.before-restore-*"))
        assert len(asides) == count and str(asides[-1]) in capsys.readouterr().out
    assert (asides[0] / "member/mark").exists() and (asides[0] / "member/snap/db").exists()


def test_revisions_are_not_given_twice(etcd: EtcdServer, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(fill(etcd, 8))
    taken(etcd, tmp_path / "before.db")
    asyncio.run(fill(etcd, 400))
    later = taken(etcd, tmp_path / "later.db")
    restore(files, tmp_path / "later.db", replace=False)
    assert "clients that kept a watch or a list of before must be started anew" in capsys.readouterr().out
    restore(files, tmp_path / "before.db", replace=True)
    assert "revisions go on after those of the state that was there" in capsys.readouterr().out
    found, revision = restored_content(files, tmp_path)
    assert later.revision < revision < later.revision + 2000
    assert found.keys() == {f"/registry/configmaps/default/c-{number}".encode() for number in (0, 1, 2, 3, 4, 5, 6)}
    assert max(changed for _, _, changed in found.values()) < later.revision


def test_a_present_state_that_cannot_be_read_hinders_nothing(
    etcd: EtcdServer, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(fill(etcd, 8))
    taken(etcd, tmp_path / "state.db")
    restore(files, tmp_path / "state.db", replace=False)
    (files.etcd / "data/member/snap/db").write_bytes(b"broken")
    restore(files, tmp_path / "state.db", replace=True)
    assert "cannot be read" in capsys.readouterr().out
    assert len(restored_content(files, tmp_path)[0]) == 7


def test_damage_is_told_and_changes_nothing(etcd: EtcdServer, files: Files, tmp_path: Path) -> None:
    asyncio.run(fill(etcd, 8))
    whole = tmp_path / "state.db"
    taken(etcd, whole)
    raw = whole.read_bytes()
    damaged = bytearray(raw)
    damaged[len(raw) // 2] ^= 1
    bad = {
        "cut": (raw[: len(raw) // 2 + 7], "no whole snapshot"),
        "page": (raw[:-512], "damaged"),
        "flipped": (bytes(damaged), "damaged"),
        "text": (b"no snapshot at all", "no whole snapshot"),
    }
    for name, (content, reason) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CommandError, match=reason):
            restore(files, tmp_path / name, replace=True)
    with pytest.raises(CommandError, match="cannot read"):
        restore(files, tmp_path / "nowhere", replace=True)
    assert not files.etcd.exists() or list(files.etcd.iterdir()) == []


def test_a_broken_stream_leaves_no_file(etcd: EtcdServer, tmp_path: Path) -> None:
    asyncio.run(fill(etcd))
    path = tmp_path / "state.db"
    with pytest.raises(CommandError, match="etcd broke off"):
        asyncio.run(snapshot.take(etcd.endpoint, path, lambda done, total: etcd.kill()))
    assert not path.exists() and not list(tmp_path.glob("*.part"))


def test_the_cluster_must_run_for_one_and_rest_for_the_other(files: Files, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no cluster runs from"):
        backup(files, tmp_path / "state.db")
    files.prepare()
    files.pid.write_text(f"{os.getpid()} {process.start_time(os.getpid())}\n")
    with pytest.raises(CommandError, match="stop it first"):
        restore(files, tmp_path / "state.db", replace=True)
    (tmp_path / "state.db").touch()
    with pytest.raises(CommandError, match="is there already"):
        backup(files, tmp_path / "state.db")
