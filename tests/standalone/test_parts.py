"""The node of a cluster in one process shows what that process is made of, and has the control plane's role."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import is_true
from knarr.objects.pods import MIRROR
from services.kubelet.parts.port import Course
from services.standalone.component_log import COMPONENTS, ETCD
from services.standalone.control_plane import ROLE
from services.standalone.in_process import InProcess
from services.standalone.parts import KINDS, flags, node_parts
from services.standalone.runs import Runs
from services.standalone.settings import ClusterSettings
from tests.standalone.test_in_process import client_of, settings_in

WAIT_SECONDS = 20.0
SHOWN = ("cloud-controller-manager", "knarr-gateway", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


@pytest.fixture(scope="module")
def within(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    made = InProcess(settings_in(tmp_path_factory.mktemp("parts")), without=frozenset({"proxy", "dns"}))
    made.start()
    yield made
    made.stop()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def pods(within: InProcess) -> dict[str, core.Pod]:
    found = within.call(client_of(within).list(core.Pod, "kube-system"))
    return {pod.metadata.name.removesuffix("-node"): pod for pod in found.items}


def is_up(within: InProcess, name: str) -> bool:
    found = pods(within).get(name)
    return found is not None and is_true(found.status, "Ready")


async def _turn(within: InProcess, name: str, *, on: bool) -> None:
    within.cluster.turn(name, on=on)


def test_each_component_is_a_pod_that_is_as_the_component_is(within: InProcess) -> None:
    until(lambda: all(is_up(within, name) for name in SHOWN))
    found = pods(within)
    assert sorted(found) == list(SHOWN)
    assert all(MIRROR in pod.metadata.annotations for pod in found.values())
    assert "--service-cluster-ip-range=10.96.0.0/16" in found["kube-apiserver"].spec.containers[0].command
    within.call(_turn(within, "scheduler", on=False))
    until(lambda: not is_up(within, "kube-scheduler"))
    within.call(_turn(within, "scheduler", on=True))
    until(lambda: is_up(within, "kube-scheduler"))
    (status,) = pods(within)["kube-scheduler"].status.container_statuses
    assert status.restart_count == 1 and status.last_state.terminated.reason == "Completed"


def test_the_node_has_the_role_also_when_it_comes_anew(within: InProcess) -> None:
    client = client_of(within)

    def node() -> core.Node:
        return within.call(client.get(core.Node, "node"))

    first = node()
    assert ROLE in first.metadata.labels and not first.spec.taints
    within.call(client.delete(core.Node, "node"))
    until(lambda: any(found.metadata.uid != first.metadata.uid for found in within.call(client.list(core.Node)).items))
    until(lambda: ROLE in node().metadata.labels)
    # Its pods were owned by the one that is gone.
    until(lambda: all(is_up(within, name) for name in SHOWN))


def test_every_component_but_the_kubelet_is_shown() -> None:
    assert set(KINDS) == set(COMPONENTS) - {"kubelet"}
    assert set(flags(ClusterSettings(), "192.0.2.1")) < set(KINDS)


def test_a_pod_is_the_same_at_each_start(tmp_path: Path) -> None:
    """Else it would be deleted and made anew, and its restarts be forgotten."""
    runs = {name: Runs() for name in (ETCD, "scheduler", "kubelet")}
    settings = ClusterSettings(data_dir=tmp_path)
    made = [node_parts(settings, "192.0.2.1", runs, lambda name: True, _nothing, lambda: 1).parts for _ in range(2)]
    assert [(part.name, part.image, part.command) for part in made[0]] == [(part.name, part.image, part.command) for part in made[1]]
    assert [part.name for part in made[0]] == ["etcd", "kube-scheduler"]
    runs["scheduler"].begin()
    course = made[0][1].course()
    assert isinstance(course, Course) and course.ready and course.number == 0


async def test_metrics_are_where_kubernetes_tools_look_for_them(tmp_path: Path) -> None:
    """By port-forward: the ports of Kubernetes' scheduler and controller manager lead to the API server's pages."""
    runs = {name: Runs() for name in ("apiserver", "controller", "scheduler")}
    with socket.create_server(("127.0.0.1", 0)) as rest, socket.create_server(("127.0.0.1", 0)) as grpc:
        rest_port, own_port = rest.getsockname()[1], grpc.getsockname()[1]
        settings = ClusterSettings(data_dir=tmp_path)
        made = {part.name: part for part in node_parts(settings, "192.0.2.1", runs, bool, _nothing, lambda: rest_port).parts}
        for name, port in (("kube-scheduler", 10259), ("kube-controller-manager", 10257)):
            with await made[name].dial(port) as found:
                assert found.getpeername() == ("127.0.0.1", rest_port)
            with await made[name].dial(own_port) as found:
                assert found.getpeername() == ("127.0.0.1", own_port)


async def _nothing() -> None:
    return None


def test_runs_are_counted_and_the_last_end_is_kept() -> None:
    runs = Runs()
    runs.end(1, "never begun")
    assert runs.last is None and runs.number == 0
    runs.begin()
    began = runs.began
    runs.end(1, "it broke")
    assert runs.began is None and runs.last is not None and (runs.last.began, runs.last.code, runs.last.words) == (began, 1, "it broke")
    runs.begin()
    assert runs.number == 1 and runs.began is not None
