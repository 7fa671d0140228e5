"""The kubelet's word about a pod stands, whoever wrote over it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.runtime.hollow import HollowRuntime, HollowSettings
from services.kubelet.runtime.port import RuntimeUnavailable
from tests.kubelet.support import NODE, condition, make_pod, running

CIDR = "10.244.0.0/24"


async def test_a_ready_condition_that_the_node_controller_cleared_is_put_right(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        await cluster.client.create(make_pod())
        changed = core.Pod()
        changed.CopyFrom(await cluster.ready())
        next(found for found in changed.status.conditions if found.type == "Ready").status = "False"
        changed.status.conditions.add(type="example.com/theirs", status="True")
        written = await cluster.client.update(changed, subresource="status")
        assert condition(written, "Ready") == "False"
        await cluster.until(lambda: condition(cluster.pod(), "Ready") == "True")
        assert condition(cluster.pod(), "example.com/theirs") == "True"


class SlowEngine(HollowRuntime):
    """Not reached at first, as Docker is not before the first answer."""

    def __init__(self) -> None:
        super().__init__(CIDR, HollowSettings())
        self.trouble = "not reached yet"

    async def start(self) -> None:
        await asyncio.sleep(0.05)
        self.trouble = ""
        await super().start()


async def test_a_restart_does_not_report_a_node_that_fails(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        api = cluster.api
    async with running(SlowEngine(), tmp_path, api=api) as cluster:
        seen = [event.reason for event in cluster.api.all(core.Event) if event.involved_object.name == NODE]
    assert "NodeNotReady" not in seen


async def test_the_error_of_an_engine_that_stays_away_is_reported(tmp_path: Path) -> None:
    class NoEngine(HollowRuntime):
        async def start(self) -> None:
            self.trouble = "no such socket"
            raise RuntimeUnavailable(self.trouble)

    async with running(NoEngine(CIDR), tmp_path, wait=False) as cluster:
        await cluster.until(lambda: cluster.api.all(core.Node) and condition(cluster.api.all(core.Node)[0], "Ready") == "False")
