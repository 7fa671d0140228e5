"""What befalls simulated nodes: what a file says, that a wrong one is told by its field, and that it comes to pass."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2 as pb
from knarr.objects.hollow import node_name
from knarr.service.errors import CommandError
from services.kubelet.hollow_faults import Condition, HollowFaults, parse_faults, read_faults
from services.kubelet.hollow_nodes import NodesServicer
from services.kubelet.runtime.hollow import HollowSettings
from tests.kubelet.support import condition, until
from tests.kubelet.test_hollow_nodes import asked_of, hollow, pod_on
from tests.support.api import FaultyApi
from tests.support.virtual_time import VirtualClock, virtual_time

EXAMPLE = Path(__file__).parents[2] / "examples/hollow/faults.yaml"
HEAD = "apiVersion: knarr.dev/v1\nkind: HollowFaults\n"


def faults(*items: str) -> HollowFaults:
    return parse_faults((HEAD + "faults:\n" + "".join(f"- {item}\n" for item in items)).encode())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Other\n", "it must be one HollowFaults of knarr.dev/v1"),
        (HEAD, "faults: Required value"),
        (HEAD + "faults: []\n", "faults: Required value"),
        (HEAD + "faults: [{down: true}]\nmore: 1\n", "unknown field 'more'"),
        (HEAD + "faults: [{down: true}, {dwon: true}]\n", "faults[1]: unknown field 'dwon'"),
        (HEAD + "faults: [{at: 30s}]\n", "faults[0]: Required value: one of down, cutOff, startDelay"),
        (HEAD + "faults: [{at: soon, down: true}]\n", "faults[0].at: Invalid value: 'soon'"),
        (HEAD + "faults: [{at: 30, down: true}]\n", "faults[0].at: Invalid value: 30: time: missing unit in duration"),
        (HEAD + "faults: [{at: -1s, down: true}]\n", "faults[0].at: Invalid value: '-1s': must be greater"),
        (HEAD + "faults: [{for: 0s, down: true}]\n", "faults[0].for: Invalid value"),
        (HEAD + "faults: [{nodes: 9-3, down: true}]\n", "faults[0].nodes: Invalid value: '9-3': must be numbers of nodes"),
        (HEAD + "faults: [{nodes: all, down: true}]\n", "faults[0].nodes: Invalid value: 'all'"),
        (HEAD + "faults: [{down: maybe}]\n", "faults[0].down: Invalid value: 'maybe': must be true or false"),
        (HEAD + "faults: [{missingImages: app}]\n", "faults[0].missingImages: Invalid value: must be a list"),
        (HEAD + "faults: [{usage: {cpus: 1}}]\n", "faults[0].usage: unknown field 'cpus'"),
        (HEAD + "faults: [{usage: {cpu: much}}]\n", "faults[0].usage.cpu: Invalid value: 'much'"),
        (HEAD + "faults: [{usage: {memory: -1}}]\n", "faults[0].usage.memory: Invalid value: -1: must be greater"),
        (HEAD + "faults: [{down: true, down: true}]\n", "faults[0]: field 'down' is there twice"),
    ],
)
def test_what_is_wrong_is_told_by_its_field(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(text)
    with pytest.raises(CommandError) as raised:
        read_faults(file)
    assert str(file) in str(raised.value) and told in str(raised.value)


def test_the_example_says_what_its_comments_say() -> None:
    found = read_faults(EXAMPLE)
    assert found.moments == [30, 60, 150, 240, 300, 360]
    usual = Condition()
    assert found.condition(10, 30, usual).cut_off and not found.condition(9, 30, usual).cut_off
    assert not found.condition(10, 150, usual).cut_off
    assert found.condition(33, 60, usual).down and not found.condition(33, 360, usual).down
    assert found.condition(7, 240, usual).missing_images == {"web:2", "db:7"}
    assert found.condition(7, 299, usual).runtime == HollowSettings(start_seconds=5.0, pull_seconds=10.0)
    assert found.condition(20, 1e9, usual).runtime == HollowSettings(cpu_milli=500, memory_bytes=1 << 30)


def test_of_several_the_last_in_the_file_holds_and_they_add_up() -> None:
    found = faults("{startDelay: 1s, down: true}", "{at: 5s, for: 5s, startDelay: 3s, down: false}")
    assert found.condition(1, 4, Condition()) == Condition(down=True, runtime=HollowSettings(start_seconds=1.0))
    assert found.condition(1, 5, Condition()) == Condition(runtime=HollowSettings(start_seconds=3.0))
    assert found.condition(1, 10, Condition()).down


def renewed(api: FaultyApi, number: int) -> int:
    return next(lease.spec.renew_time.seconds for lease in api.all(coordination.Lease) if lease.metadata.name == node_name(number))


@virtual_time
async def test_a_node_that_is_cut_off_is_silent_and_its_pods_run_on(tmp_path: Path) -> None:
    api = FaultyApi(VirtualClock())
    async with hollow(api, tmp_path, faults=faults("{at: 30s, for: 60s, nodes: 1, cutOff: true}")) as nodes:
        began = asyncio.get_running_loop().time()
        await api.client().create(pod_on(1, "before"))
        await until(lambda: condition(api.all(core.Pod)[0], "Ready") == "True")
        kubelet = nodes.nodes[node_name(1)].kubelet
        await asyncio.sleep(began + 31 - asyncio.get_running_loop().time())
        before, other = renewed(api, 1), renewed(api, 2)
        await api.client().create(pod_on(1, "meanwhile"))
        await asyncio.sleep(50)
        assert renewed(api, 1) == before and renewed(api, 2) > other
        pods = {pod.metadata.name: pod for pod in api.all(core.Pod)}
        assert condition(pods["before"], "Ready") == "True" and condition(pods["meanwhile"], "Ready") == ""
        await until(lambda: all(condition(pod, "Ready") == "True" for pod in api.all(core.Pod)), 40)
        await until(lambda: renewed(api, 1) > before, 10)
        assert nodes.nodes[node_name(1)].kubelet is kubelet
        assert {pod.metadata.name: pod.status.container_statuses[0].restart_count for pod in api.all(core.Pod)} == {
            "before": 0,
            "meanwhile": 0,
        }


@virtual_time
async def test_a_machine_that_was_off_comes_back_without_its_containers(tmp_path: Path) -> None:
    api = FaultyApi(VirtualClock())
    async with hollow(api, tmp_path, faults=faults("{at: 30s, for: 60s, nodes: 2, down: true}")) as nodes:
        await api.client().create(pod_on(2, "web"))
        await until(lambda: condition(api.all(core.Pod)[0], "Ready") == "True")
        first = api.all(core.Pod)[0].status.container_statuses[0].container_id
        await until(lambda: nodes.nodes[node_name(2)].kubelet is None, 60)
        before = renewed(api, 2)
        await asyncio.sleep(55)
        assert renewed(api, 2) == before and nodes.nodes[node_name(1)].ready
        await until(lambda: nodes.nodes[node_name(2)].ready, 30)
        await until(lambda: api.all(core.Pod)[0].status.container_statuses[0].container_id not in ("", first))
        await until(lambda: condition(api.all(core.Pod)[0], "Ready") == "True")


@virtual_time
async def test_slow_starts_missing_images_and_lies_about_usage(tmp_path: Path) -> None:
    api = FaultyApi(VirtualClock())
    script = faults("{startDelay: 20s}", "{nodes: 2, missingImages: ['app:1']}", "{at: 100s, usage: {cpu: 500m, memory: 1Gi}}")
    async with hollow(api, tmp_path, faults=script) as nodes:
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(1)
        await api.client().create(pod_on(1, "slow"))
        await api.client().create(pod_on(2, "lacking"))
        pods = lambda: {pod.metadata.name: pod for pod in api.all(core.Pod)}  # noqa: E731
        await asyncio.sleep(15)
        assert condition(pods()["slow"], "Ready") != "True"
        await until(lambda: condition(pods()["slow"], "Ready") == "True", 10)
        waiting = pods()["lacking"].status.container_statuses[0].state.waiting
        assert waiting.reason in ("ErrImagePull", "ImagePullBackOff")
        await asyncio.sleep(began + 101 - asyncio.get_running_loop().time())
        told = await NodesServicer(lambda: nodes.nodes).GetStats(pb.GetStatsRequest(), asked_of(node_name(1)))
        assert told.containers[0].memory_bytes == 1 << 30
        # What was used before the lie stays as it was told.
        assert told.containers[0].cpu_rate.nanocores == 500_000_000 and told.containers[0].cpu_nanoseconds < 3e9
