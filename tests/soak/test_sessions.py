"""A short run of commands that are begun and left."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.soak.checkers import left
from tests.soak.sessions import on_docker, run, scripted


async def test_who_leaves_a_command_leaves_nothing(tmp_path: Path) -> None:
    async with scripted(tmp_path) as place:
        report = await run(place, 120)
    assert report.sessions == 120
    assert not report.left, str(report)


@pytest.mark.docker
async def test_who_leaves_a_command_of_a_container_leaves_nothing(tmp_path: Path) -> None:
    async with on_docker(tmp_path) as place:
        report = await run(place, 60)
    assert not report.left, str(report)


async def test_a_command_that_goes_on_is_named(tmp_path: Path) -> None:
    async with scripted(tmp_path) as place:
        before = place.found()
        async with asyncio.timeout(10), place.served.socket("/exec/default/web/app?input=1&output=1&command=0") as client:
            await client.recv()
            assert "command: session" in left(before, place.found())
        assert before["command"] == Counter(session=0)
