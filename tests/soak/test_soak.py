"""The short soak, and that each of its checkers sees what it looks for."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.soak.checkers import left
from tests.soak.run import Soak, on_docker, on_hollow, run
from tests.soak.waves import Wave


async def test_a_simulated_node_is_left_as_it_was(tmp_path: Path) -> None:
    async with on_hollow(tmp_path / "data") as place:
        report = await run(Soak(pods=30, wave=10), place)
    assert report.pods == 30
    assert not report.left, str(report)


@pytest.mark.docker
async def test_a_node_is_left_as_it_was(tmp_path: Path) -> None:
    async with on_docker(tmp_path / "data") as place:
        report = await run(Soak(pods=33, wave=11), place)
    assert report.pods == 33
    assert not report.left, str(report)


class Kept:
    """What a node should forget of a pod."""


async def test_what_is_kept_of_each_pod_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kept, "__module__", "services.kubelet.made_up")
    kept = []

    async def leaks(wave: Wave, name: str) -> None:
        kept.append(Kept())

    async with on_hollow(tmp_path / "data") as place:
        monkeypatch.setattr("tests.soak.run.REST_SECONDS", 0.0)
        report = await run(Soak(pods=40, wave=10), replace(place, kinds=(leaks,)))
    assert report.left == ["object: services.kubelet.made_up.Kept × 20"]
    assert left({"object": Counter(a=1)}, {"object": Counter(a=11)}, 10) == []


async def test_what_stays_is_named(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with on_hollow(data_dir) as place:
        before = await place.found()
        assert left(before, await place.found()) == []
        data_dir.mkdir(exist_ok=True)
        (data_dir / "stays").touch()
        stays = asyncio.create_task(asyncio.sleep(1000), name="stays/7")
        with (data_dir / "stays").open():
            found = left(before, await place.found())
        stays.cancel()
    assert found[0].startswith("descriptor: ") and found[0].endswith("/stays")
    assert found[1:] == ["file: stays", "task: stays/N (sleep)"]


def test_numbers_are_told_where_there_is_more_than_one() -> None:
    assert left({"task": Counter(a=1)}, {"task": Counter(a=3, b=1)}) == ["task: a × 2", "task: b"]
