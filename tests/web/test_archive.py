"""What a page that is started again still knows: whatever befell the one before, and only what its viewer may see."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from services.web.api import Access, Api
from services.web.archive import KEPT_SECONDS, RETRY_SECONDS, Archive
from services.web.desk import Desk
from services.web.history import latest
from services.web.packed import ObjectKey
from services.web.recorder import ADDED, DELETED, MODIFIED, Recorder
from services.web.segment import records
from services.web.server import PageServer
from tests.apiserver.rest.live import LiveServer
from tests.support.set_clock import SetClock
from tests.web.conftest import access, followed
from tests.web.histories import Values, lived_through, thing

REVISIONS = 60


def values(recorder: Recorder, revision: int, resource: str = "things") -> Values:
    return {obj["metadata"]["name"]: obj["value"] for obj in map(orjson.loads, recorder.at(revision).get(resource, []))}


def opened(folder: Path, clock: SetClock, **bounds: int) -> tuple[Recorder, Archive]:
    recorder = Recorder(clock)
    archive = Archive(folder, recorder, clock, **bounds)
    archive.open()
    return recorder, archive


def live(recorder: Recorder, then: dict[int, Values], revision: int) -> None:
    """A page's first list."""
    recorder.begin("things", [thing(name, value, value) for name, value in then[revision].items()], revision)


def lived(folder: Path, clock: SetClock, **bounds: int) -> tuple[Archive, dict[int, Values]]:
    """A page that saw much, with what was at each revision."""
    recorder, archive = opened(folder, clock, **bounds)
    then: dict[int, Values] = {1: {}}
    live(recorder, then, 1)
    for revision, now in lived_through(recorder, "abcd", REVISIONS, seed=5):
        then[revision] = now
        clock.move(1)
    return archive, then


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def test_the_next_page_shows_what_was_with_times_and_writers(tmp_path: Path, clock: SetClock) -> None:
    recorder, archive = opened(tmp_path, clock)
    live(recorder, {1: {}}, 1)
    written = thing("a", 2, 2)
    written["metadata"]["managedFields"] = [{"manager": "kubectl", "operation": "Apply", "time": "t"}]
    recorder.take("things", ADDED, written)
    at = recorder.changes[0].at
    archive.close()
    clock.move(100)
    again, archive = opened(tmp_path, clock)
    live(again, {7: {"a": 2, "b": 5}}, 7)
    assert [(one.revision, one.type, one.writer) for one in again.changes] == [(2, ADDED, "kubectl (Apply)"), (5, ADDED, "")]
    assert again.changes[0].at == at and again.floor == 1
    assert values(again, 1) == {} and values(again, 4) == {"a": 2} and values(again, 7) == {"a": 2, "b": 5}
    archive.close()


@pytest.mark.parametrize("segment_bytes", [300, 10_000_000])
def test_a_crash_between_any_two_bytes_makes_nothing_wrong(tmp_path: Path, clock: SetClock, segment_bytes: int) -> None:
    archive, then = lived(tmp_path / "whole", clock, segment_bytes=segment_bytes)
    archive.close()
    segments = sorted((tmp_path / "whole").glob("*.log"))
    assert (len(segments) > 5) == (segment_bytes == 300)
    whole = segments[-1].read_bytes()
    for cut in range(0, len(whole) + 1, 1 if len(whole) < 1500 else 7):
        folder = tmp_path / f"cut-{cut}"
        folder.mkdir()
        for segment in segments[:-1]:
            os.link(segment, folder / segment.name)
        (folder / segments[-1].name).write_bytes(whole[:cut])
        recorder, archive = opened(folder, clock, segment_bytes=segment_bytes)
        known = recorder.latest
        live(recorder, then, REVISIONS - 1)
        # What was written is shown as it was, what was not is a difference of the list.
        for revision in range(recorder.floor, known + 1):
            assert values(recorder, revision) == then[revision], (cut, revision)
        assert values(recorder, REVISIONS - 1) == then[REVISIONS - 1]
        archive.close()


def test_what_is_damaged_ends_its_segment_alone(tmp_path: Path, clock: SetClock) -> None:
    archive, then = lived(tmp_path, clock, segment_bytes=300)
    archive.close()
    middle = sorted(tmp_path.glob("*.log"))[3]
    text = bytearray(middle.read_bytes())
    text[-3] ^= 0xFF
    middle.write_bytes(text)
    recorder, archive = opened(tmp_path, clock)
    live(recorder, then, REVISIONS - 1)
    assert values(recorder, REVISIONS - 1) == then[REVISIONS - 1] and recorder.floor == 1
    assert values(recorder, REVISIONS - 2) == then[REVISIONS - 2]
    archive.close()


def test_nothing_is_shown_that_the_api_server_has_not_listed_to_this_viewer(tmp_path: Path, clock: SetClock) -> None:
    recorder, archive = opened(tmp_path, clock)
    for resource, first in (("things", 1), ("others", 3)):
        recorder.begin(resource, [thing("a", first, resource)], first)
        recorder.take(resource, MODIFIED, thing("a", first + 1, resource))
    archive.close()
    again, archive = opened(tmp_path, clock)
    key = ObjectKey("others", "shop", "a")
    for _ in range(2):
        assert not again.texts("others") and again.get(key) is None and not list(again.objects("others"))
        assert "others" not in [change.key.resource for change in again.changes] and not again.at(again.floor).get("others")
        with pytest.raises(LookupError):
            again.change(4)
        again.begin("things", [], 5)
    # He may not: it is forgotten, on disk as well.
    again.conceal("others")
    archive.close()
    third, archive = opened(tmp_path, clock)
    third.begin("others", [thing("a", 4, "others")], 6)
    assert not third.changes and third.floor == 6
    archive.close()


def test_a_right_that_is_taken_away_takes_what_was_seen_with_it(tmp_path: Path, clock: SetClock) -> None:
    recorder, archive = opened(tmp_path, clock)
    recorder.begin("things", [thing("a", 1)], 1)
    recorder.take("things", MODIFIED, thing("a", 2, "told"))
    heard: list[tuple[str, bool]] = []
    recorder.listen(lambda key, text: heard.append((key.name, text is None)))
    recorder.conceal("things")
    assert heard == [("a", True)] and not recorder.texts("things") and not recorder.changes and recorder.remembered_bytes == 0
    archive.close()
    again, archive = opened(tmp_path, clock)
    again.begin("things", [thing("a", 2, "told")], 5)
    assert not again.changes
    archive.close()


def test_a_store_that_was_set_back_is_not_mixed_with_what_was(tmp_path: Path, clock: SetClock) -> None:
    recorder, archive = opened(tmp_path, clock)
    for resource in ("things", "others"):
        recorder.begin(resource, [thing("a", 90, 1)], 90)
    recorder.take("things", MODIFIED, thing("a", 91, 2))
    archive.close()
    again, archive = opened(tmp_path, clock)
    again.begin("things", [thing("a", 3, 3)], 5)
    assert not again.changes and not again.texts("others") and values(again, 5) == {"a": 3}
    again.take("things", MODIFIED, thing("a", 6, 4))
    archive.close()
    third, archive = opened(tmp_path, clock)
    third.begin("things", [thing("a", 6, 4)], 7)
    assert values(third, 5) == {"a": 3} and values(third, 6) == {"a": 4}
    archive.close()


def test_it_is_its_owners_alone_whatever_the_umask(tmp_path: Path, clock: SetClock) -> None:
    before = os.umask(0)
    try:
        archive, _ = lived(tmp_path / "a" / "b", clock)
    finally:
        os.umask(before)
    archive.close()
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "a" / "b").iterdir()} == {0o600}
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_it_is_bounded_in_size_and_age(tmp_path: Path, clock: SetClock) -> None:
    archive, _ = lived(tmp_path, clock, segment_bytes=300, most_bytes=2000)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.log")) <= 2000 + 300
    archive.close()
    old = clock.now().timestamp() - KEPT_SECONDS - 1
    for path in tmp_path.glob("*.log"):
        os.utime(path, (old, old))
    _, archive = opened(tmp_path, clock)
    assert len(list(tmp_path.glob("*.log"))) == 1
    archive.close()


def test_objects_that_alone_are_too_much_are_not_kept(tmp_path: Path, clock: SetClock) -> None:
    recorder, archive = opened(tmp_path, clock, most_bytes=1000)
    recorder.begin("things", [thing("a", 1, random.Random(1).randbytes(2000).hex())], 1)
    assert "more than 1000 bytes" in archive.problem
    assert sum(path.stat().st_size for path in tmp_path.glob("*.log")) <= 1000
    archive.close()


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A disk that takes so many bytes more, while the list has a number."""
    room: list[int] = []
    write = os.write

    def bounded(file: int, data: Any) -> int:
        if not room:
            return write(file, data)
        if room[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(file, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", bounded)
    yield room


@pytest.mark.parametrize("room", [0, 1, 8, 9, 40])
def test_a_full_disk_costs_nothing_but_what_had_no_room(tmp_path: Path, clock: SetClock, full: list[int], room: int) -> None:
    recorder, archive = opened(tmp_path, clock)
    then: dict[int, Values] = {1: {}, 2: {"a": 2}, 3: {"a": 3}, 4: {"a": 4}}
    live(recorder, then, 1)
    recorder.take("things", ADDED, thing("a", 2, 2))
    full.append(room)
    recorder.take("things", MODIFIED, thing("a", 3, 3))
    assert "No space left" in archive.problem and values(recorder, 2) == {"a": 2}
    full.clear()
    clock.move(RETRY_SECONDS)
    recorder.take("things", MODIFIED, thing("a", 4, 4))
    assert archive.problem == ""
    archive.close()
    again, archive = opened(tmp_path, clock)
    live(again, then, 4)
    assert again.floor == 1 and values(again, 1) == {} and values(again, 2) == {"a": 2} and values(again, 4) == {"a": 4}
    archive.close()


def test_two_pages_do_not_write_into_one_another(tmp_path: Path, clock: SetClock) -> None:
    archive, then = lived(tmp_path, clock)
    recorder, second = opened(tmp_path, clock)
    live(recorder, then, REVISIONS - 1)
    recorder.take("things", MODIFIED, thing("a", REVISIONS, "second"))
    assert "another page" in second.problem and archive.problem == ""
    second.close()
    archive.close()
    again, third = opened(tmp_path, clock)
    assert again.latest == REVISIONS - 1 and third.problem == ""
    third.close()


def test_a_folder_that_cannot_be_had_is_told_and_the_page_works(tmp_path: Path, clock: SetClock) -> None:
    (tmp_path / "file").write_text("")
    recorder, archive = opened(tmp_path / "file" / "page", clock)
    live(recorder, {1: {}}, 1)
    recorder.take("things", ADDED, thing("a", 2, 2))
    assert "Not a directory" in archive.problem and values(recorder, 2) == {"a": 2}
    recorder.conceal("things")
    archive.close()


def test_what_is_not_remembered_is_not_kept(tmp_path: Path, clock: SetClock) -> None:
    recorder, archive = opened(tmp_path, clock, segment_bytes=100)
    recorder.begin("events", [thing("seen", 1, "x" * 300)], 1, remember=False)
    recorder.take("events", ADDED, thing("again", 2, "x" * 300), remember=False)
    recorder.begin("things", [thing("a", 1)], 2)
    archive.close()
    again, archive = opened(tmp_path, clock)
    assert "events" not in again.at(2)
    archive.close()


def written(folder: Path) -> list[Any]:
    return [record for segment in folder.glob("*.log") for record in records(segment)]


async def test_a_page_that_is_started_again_has_the_timeline_and_no_secrets(cluster: LiveServer, tmp_path: Path) -> None:
    client, metadata = cluster.client, meta.ObjectMeta(name="told", namespace="default")
    async with Api(access(cluster)) as api, PageServer(api, history=tmp_path) as page:
        await followed(page)
        cluster.call(client.create(core.ConfigMap(metadata=metadata, data={"a": "1"})))
        cluster.call(client.create(core.Secret(metadata=metadata, data={"password": b"hunter2"})))
        async with asyncio.timeout(20):
            while len([one for one in page.desk.recorder.changes if one.key.name == "told"]) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    cluster.call(client.delete(core.ConfigMap, "told", "default"))
    async with Api(access(cluster)) as api, PageServer(api, history=tmp_path) as page:
        await followed(page)
        found = latest(page.desk.recorder, 9, key=ObjectKey("configmaps", "default", "told"))
        assert [one["type"] for one in found] == [DELETED, ADDED]
    kept = written(tmp_path)
    assert "secrets" in {record[1] for record in kept} and "hunter2" not in str(kept) and "aHVudGVyMg" not in str(kept)


async def test_a_desk_that_is_given_up_while_its_archive_opens_leaves_it_to_others(
    tmp_path: Path, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()
    really = Archive.open

    def slowly(archive: Archive) -> None:
        begun.set()
        assert go.wait(20)
        really(archive)

    monkeypatch.setattr(Archive, "open", slowly)
    async with Api(Access("http://127.0.0.1:1")) as api:
        coming = asyncio.create_task(Desk(api, history=tmp_path).__aenter__())
        assert await asyncio.to_thread(begun.wait, 20)
        coming.cancel()
        go.set()
        await asyncio.wait([coming])
    assert coming.cancelled()
    monkeypatch.undo()
    _, archive = opened(tmp_path, clock)
    assert archive.problem == ""
    archive.close()
