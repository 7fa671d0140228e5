"""Pods, owners, keys and endpoints."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.objects.conditions import set_condition
from knarr.objects.endpoints import takes_connections
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.owners import controller_of, is_controlled_by, owner_reference
from knarr.objects.pods import (
    addresses_of,
    init_and_main_containers,
    is_active,
    is_finished,
    is_ready,
    lasting_containers,
    ready_since,
    restarts,
    seconds_until_available,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("phase", "finished"), [("Pending", False), ("Running", False), ("Unknown", False), ("", False), ("Succeeded", True), ("Failed", True)]
)
def test_phases(phase: str, finished: bool) -> None:
    pod = core.Pod()
    pod.status.phase = phase
    assert is_finished(pod) is finished
    assert is_active(pod) is not finished
    pod.metadata.deletion_timestamp.seconds = 1
    assert is_deleting(pod)
    assert not is_active(pod)


def test_a_pod_is_available_after_it_was_ready_for_long_enough() -> None:
    pod = core.Pod()
    assert ready_since(pod) is None
    assert seconds_until_available(pod, 0, NOW) is None
    set_condition(pod.status, "Ready", True, now=NOW)
    assert is_ready(pod)
    assert ready_since(pod) == NOW
    assert seconds_until_available(pod, 0, NOW) == 0
    assert seconds_until_available(pod, 10, NOW + timedelta(seconds=4)) == 6
    assert seconds_until_available(pod, 10, NOW + timedelta(seconds=40)) == 0
    set_condition(pod.status, "Ready", False, now=NOW)
    assert not is_ready(pod)
    assert seconds_until_available(pod, 0, NOW) is None


def test_containers_by_how_long_they_run() -> None:
    spec = core.PodSpec(containers=[core.Container(name="main")])
    spec.init_containers.add(name="first")
    spec.init_containers.add(name="beside", restart_policy="Always")
    assert [container.name for container in init_and_main_containers(spec)] == ["first", "beside", "main"]
    assert [container.name for container in lasting_containers(spec)] == ["main", "beside"]


def test_restarts_and_addresses() -> None:
    pod = core.Pod()
    assert restarts(pod) == 0
    assert addresses_of(pod) == ()
    pod.status.pod_ip = "10.0.0.1"
    assert addresses_of(pod) == ("10.0.0.1",)
    pod.status.pod_ips.add(ip="10.0.0.1")
    pod.status.pod_ips.add(ip="fd00::1")
    assert addresses_of(pod) == ("10.0.0.1", "fd00::1")
    pod.status.container_statuses.add(restart_count=2)
    pod.status.container_statuses.add(restart_count=1)
    assert restarts(pod) == 2


def test_owners() -> None:
    owner, pod = apps.ReplicaSet(), core.Pod()
    owner.metadata.name, owner.metadata.uid = "web", "u1"
    pod.metadata.owner_references.append(owner_reference(owner, controller=False, block_owner_deletion=False))
    assert controller_of(pod) is None
    assert not is_controlled_by(pod, owner)
    assert not pod.metadata.owner_references[0].HasField("block_owner_deletion")
    reference = owner_reference(owner)
    assert (reference.api_version, reference.kind, reference.name, reference.uid) == ("apps/v1", "ReplicaSet", "web", "u1")
    pod.metadata.owner_references.append(reference)
    assert controller_of(pod) == reference
    assert is_controlled_by(pod, owner)
    owner.metadata.uid = "u2"
    assert not is_controlled_by(pod, owner)


@pytest.mark.parametrize("key", [Key("default", "web"), Key("", "node-1")])
def test_keys_read_back(key: Key) -> None:
    assert Key.parse(str(key)) == key
    pod = core.Pod()
    pod.metadata.namespace, pod.metadata.name = key
    assert key_of(pod) == key


def test_an_endpoint_that_does_not_say_takes_connections() -> None:
    endpoint = discovery.Endpoint()
    assert takes_connections(endpoint)
    endpoint.conditions.ready = False
    assert not takes_connections(endpoint)
    endpoint.conditions.ready = True
    assert takes_connections(endpoint)
