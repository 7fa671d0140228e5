"""``knarr simulate TRACE --record``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.service.errors import CommandError
from services.command import record
from services.command.commands.simulate import simulate
from services.command.record import follow
from services.simulation.reading import parse_trace
from services.simulation.trace import WorkloadChange
from services.standalone.files import Files
from tests.simulation.test_recording import deployment, node
from tests.support.api import FaultyApi
from tests.support.virtual_time import VirtualClock, virtual_time


@virtual_time
async def test_what_happens_between_the_begin_and_the_end_is_in_the_trace() -> None:
    api = FaultyApi(VirtualClock())
    async with api:
        client, ended = api.client(), asyncio.Event()
        web = deployment("web", 2)
        web.metadata.uid, web.metadata.namespace = "", "default"
        await client.create(node("one"))
        await client.create(web)
        recorded = asyncio.create_task(follow(client, ended, None))
        await asyncio.sleep(10.0)
        scale = await client.scale(apps.Deployment, "web", "default")
        scale.spec.replicas = 7
        await client.rescale(apps.Deployment, scale)
        await asyncio.sleep(10.0)
        api.break_watches()
        await client.delete(apps.Deployment, "web", "default")
        await asyncio.sleep(10.0)
        ended.set()
        document, recording = await recorded
    trace = parse_trace(yaml.safe_dump(document).encode(), Path())
    (found,) = trace.workloads
    assert [(change.replicas, round(change.at)) for change in found.changes] == [(7, 10), (None, 20)]
    assert isinstance(found.changes[0], WorkloadChange) and round(trace.until) == 30 and not recording.left_out
    assert [group.count for group in trace.nodes] == [1]


@virtual_time
async def test_a_recording_ends_after_its_time_and_one_that_cannot_begin_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FaultyApi(VirtualClock()) as api:
        document, _ = await follow(api.client(), asyncio.Event(), 5.0)
        assert document["until"] == "5s"

    class Away:
        async def list(self, *_: object, **__: object) -> None:
            await asyncio.Event().wait()

    with pytest.raises(CommandError, match="the API server was not read within 60 s"):
        await follow(Away(), asyncio.Event(), None)  # type: ignore[arg-type]


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    file = tmp_path / "trace.yaml"
    file.write_text("mine")
    with pytest.raises(CommandError, match="is there already"):
        record.record(Files(tmp_path), file, None)
    with pytest.raises(CommandError, match="there is no folder"):
        record.record(Files(tmp_path), tmp_path / "none/trace.yaml", None)
    with pytest.raises(CommandError, match="no cluster runs from"):
        record.record(Files(tmp_path), tmp_path / "other.yaml", None)
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["t", "--for", "5m"], "--for says how long to record; add --record"),
        (["t", "--record", "--seed", "3"], "--seed is for playing a trace"),
        (["t", "--record", "--for", "soon"], "--for: Invalid value: 'soon'"),
        (["t", "--record", "--for", "1ms"], "'1ms' is too short"),
    ],
)
def test_options_that_contradict_one_another(arguments: list[str], told: str, tmp_path: Path) -> None:
    from click.testing import CliRunner

    done = CliRunner().invoke(simulate, [*arguments, "--data-dir", str(tmp_path)])
    assert done.exit_code == 2 and told in done.output
