"""Several schedulers in one: the name that a pod asks for chooses the profile."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.scheduler.v1 import explain_pb2
from knarr.service.election import add_leader_election, election
from knarr.service.errors import CommandError
from services.scheduler.component import LEASE
from services.scheduler.configuration.configuration import parse_configuration
from services.scheduler.configuration.reading import elect_by, read_scheduler_configuration, settings_of
from services.scheduler.servicer import SchedulerServicer
from services.scheduler.settings import SchedulerSettings
from services.scheduler.state import SchedulerState
from tests.scheduler.objects import Objects, node, pod
from tests.scheduler.test_component import Fixture
from tests.support.virtual_time import virtual_time

CONFIGURATION = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
podInitialBackoffSeconds: 3
podMaxBackoffSeconds: 30
profiles:
- schedulerName: default-scheduler
- schedulerName: packing
  plugins:
    score: {disabled: [{name: "*"}], enabled: [{name: NodeResourcesFit, weight: 4}]}
    postFilter: {disabled: [{name: "*"}]}
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}}
"""


def settings() -> SchedulerSettings:
    return settings_of(parse_configuration(CONFIGURATION.encode()))


def asking(name: str, scheduler: str, cpu: str = "1", priority: int = 0) -> core.Pod:
    found = pod(name, cpu, priority=priority)
    found.spec.scheduler_name = scheduler
    return found


@virtual_time
async def test_the_name_that_a_pod_asks_for_chooses_its_profile() -> None:
    made = Fixture(node("full"), node("empty"), settings=settings())
    made.api.seed(pod("resident", "2", node_name="full"))
    async with made.running():
        for found in (asking("spread", "default-scheduler"), asking("packed", "packing"), asking("foreign", "somebody")):
            await made.client.create(found)
            await asyncio.sleep(1)
        assert (await made.pod("spread")).spec.node_name == "empty"
        assert (await made.pod("packed")).spec.node_name == "full"
        foreign = await made.pod("foreign")
        assert not foreign.spec.node_name and not foreign.status.conditions
        told = {event.involved_object.name: event.source.component for event in made.api.all(core.Event)}
        assert told == {"spread": "default-scheduler", "packed": "packing"}
        servicer = SchedulerServicer(made.scheduler)
        answer = await servicer.Explain(explain_pb2.ExplainRequest(pod="packed"), None)
        assert answer.scheduler_name == "packing" and dict(answer.weights) == {"NodeResourcesFit": 4} and answer.choice == "full"
        assert "NodeResourcesFit" in answer.filters and "ImageLocality" not in answer.filters
        assert {verdict.node: dict(verdict.scores) for verdict in answer.verdicts} == {
            "full": {"NodeResourcesFit": 300},
            "empty": {"NodeResourcesFit": 200},
        }


@virtual_time
async def test_a_profile_that_makes_no_room_removes_nobody() -> None:
    made = Fixture(node("n1", cpu="1"), settings=settings())
    made.api.seed(pod("resident", "1", node_name="n1"))
    async with made.running():
        made.api.seed(asking("a", "packing", priority=10))
        await asyncio.sleep(1)
        assert made.events("FailedScheduling") == ["0/1 nodes are available: 1 Insufficient cpu."]
        assert (await made.pod("resident")).spec.node_name == "n1"
        made.api.seed(asking("b", "default-scheduler", priority=10))
        await asyncio.sleep(1)
        assert made.events("Preempted")


def test_profiles_share_plugins_that_are_made_alike() -> None:
    state = SchedulerState(settings(), Objects(), lambda: 0.0)
    one, other = state.profiles["default-scheduler"], state.profiles["packing"]
    assert one.by_name["TaintToleration"] is other.by_name["TaintToleration"]
    assert one.by_name["NodeResourcesFit"] is not other.by_name["NodeResourcesFit"]
    assert (settings().backoff_first_seconds, settings().backoff_limit_seconds) == (3, 30)


def test_what_is_said_in_vain_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        settings_of(parse_configuration(f"{CONFIGURATION}parallelism: 3\n".encode()))
    assert [record.message for record in caplog.records] == [
        "the scheduler's configuration says something that makes no difference: parallelism: all nodes are judged at once, by one process"
    ]


@pytest.mark.parametrize(
    ("options", "elected", "duration"),
    [([], True, 30.0), (["--leader-elect-lease-duration", "20"], True, 20.0)],
)
def test_a_file_says_how_is_elected_unless_options_do(options: list[str], elected: bool, duration: float) -> None:
    parser = argparse.ArgumentParser()
    add_leader_election(parser, LEASE)
    text = f"{CONFIGURATION}leaderElection: {{leaderElect: true, leaseDuration: 30s}}\n"
    elect_by(parse_configuration(text.encode()), parser)
    found = election(parser, parser.parse_args(options))
    assert (found.held, found.lease.duration_seconds) == (elected, duration)


def test_a_file_that_is_no_good_is_named(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.yaml"
    file.write_text(f"{CONFIGURATION}parallelism: 0\n")
    with pytest.raises(CommandError, match=rf"{file}: parallelism: Invalid value: 0: should be"):
        read_scheduler_configuration(file)
