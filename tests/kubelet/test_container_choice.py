"""Which container of a pod is meant by who asks for its log, or for a way into it."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2 as pb
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError
from services.kubelet.runtime.port import Container
from services.kubelet.servicer import KubeletServicer

POD = core.Pod(metadata=meta.ObjectMeta(namespace="default", name="one", uid="u"), spec=core.PodSpec(containers=[core.Container(name="c")]))


class Node(KubeletServicer):
    """It runs POD, whose containers have these states, one after the other."""

    def __init__(self, *states: str) -> None:
        self.containers = [Container(f"c{attempt}", "c", attempt, state) for attempt, state in enumerate(states)]
        self._runtime: Any = self
        self._manager: Any = self
        self.pod = POD

    def find(self, *_: str) -> Any:
        return self

    def observe(self, uid: str) -> Any:
        return self


@pytest.mark.parametrize(
    ("states", "previous", "wanted"),
    [
        (["running"], False, "c0"),
        (["exited"], False, "c0"),
        (["exited", "running"], False, "c1"),
        (["exited", "running"], True, "c0"),
        (["exited", "exited", "created"], False, "c1"),
        (["exited", "exited", "created"], True, "c1"),
        (["created"], False, 'container "c" in pod "one" is waiting to start: ContainerCreating'),
        ([], False, 'container "c" in pod "one" is waiting to start: ContainerCreating'),
        (["running"], True, 'previous terminated container "c" in pod "one" not found'),
        ([], True, 'previous terminated container "c" in pod "one" not found'),
    ],
)
def test_whose_log_is_meant(states: list[str], previous: bool, wanted: str) -> None:
    ref = pb.ContainerRef(namespace="default", pod="one")
    try:
        found = Node(*states)._container(ref, previous=previous).id
    except StatusError as error:
        assert error.code == 400
        found = error.status.message
    assert found == wanted


def test_the_log_of_one_that_was_removed_is_not_waited_for() -> None:
    """As those of an evicted pod are, at once."""
    node, told = Node(), core.Pod()
    told.CopyFrom(POD)
    told.status.container_statuses.add(name="c").state.terminated.exit_code = 137
    node.pod = told
    with pytest.raises(StatusError) as caught:
        node._container(pb.ContainerRef(namespace="default", pod="one"))
    assert caught.value.status.message == 'container "c" in pod "one" is terminated, and was removed with its log'


@pytest.mark.parametrize("states", [[], ["created"], ["exited"], ["exited", "created"]])
def test_there_is_no_way_into_one_that_does_not_run(states: list[str]) -> None:
    with pytest.raises(StatusError) as caught:
        Node(*states).running_container(pb.ContainerRef(namespace="default", pod="one", container="c"))
    assert caught.value.status.message == 'Internal error occurred: unable to upgrade connection: container not found ("c")'


def test_the_newest_is_gone_into() -> None:
    assert Node("exited", "running").running_container(pb.ContainerRef(namespace="default", pod="one", container="c")).id == "c1"
