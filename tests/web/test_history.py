"""What is told of changes, and the chain from an apply to a pod that serves."""

from __future__ import annotations

import tracemalloc
from typing import Any

import orjson
import pytest

from services.web.history import chain, changed, differences, latest
from services.web.packed import ObjectKey
from services.web.recorder import ADDED, DELETED, MODIFIED, Recorder
from tests.support.set_clock import SetClock

POD = ObjectKey("pods", "shop", "web-1-a")


def obj(name: str, revision: int, owner: tuple[str, str] | None = None, **rest: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "shop",
        "resourceVersion": str(revision),
        "generation": rest.pop("generation", 1),
    }
    if owner is not None:
        metadata["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "controller": True}]
    return {"metadata": metadata, "spec": {}} | rest


def pod(revision: int, *, node: str = "", running: bool = False, ready: bool = False) -> dict[str, Any]:
    state: dict[str, Any] = {"running": {}} if running else {"waiting": {}}
    status = {"containerStatuses": [{"name": "web", "state": state}], "conditions": [{"type": "Ready", "status": str(ready)}]}
    return obj("web-1-a", revision, ("ReplicaSet", "web-1"), spec={"nodeName": node} if node else {}, status=status)


def piece(revision: int, *, ready: bool) -> dict[str, Any]:
    endpoint = {"addresses": ["10.244.0.9"], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": "web-1-a"}}
    return obj("web-x", revision, endpoints=[endpoint])


def rollout() -> tuple[Recorder, SetClock]:
    """One step each 10 ms, from the Deployment to the endpoint."""
    clock = SetClock()
    recorder = Recorder(clock)
    for resource in ("deployments", "replicasets", "pods", "endpointslices"):
        recorder.begin(resource, [], 1)
    steps = [
        ("deployments", ADDED, obj("web", 2)),
        ("replicasets", ADDED, obj("web-1", 3, ("Deployment", "web"))),
        ("deployments", MODIFIED, obj("web", 4, status={"observedGeneration": 1})),
        ("pods", ADDED, pod(5)),
        ("pods", MODIFIED, pod(6, node="a")),
        ("pods", MODIFIED, pod(7, node="a", running=True)),
        ("endpointslices", ADDED, piece(8, ready=False)),
        ("pods", MODIFIED, pod(9, node="a", running=True, ready=True)),
        ("endpointslices", MODIFIED, piece(10, ready=True)),
    ]
    for resource, event, what in steps:
        recorder.take(resource, event, what)
        clock.move(0.01)
    return recorder, clock


def test_the_chain_of_an_apply() -> None:
    recorder, _ = rollout()
    links = chain(recorder, POD)
    assert [(link.step, link.revision) for link in links] == [
        ("apply", 2),
        ("owner", 3),
        ("pod", 5),
        ("bind", 6),
        ("start", 7),
        ("ready", 9),
        ("endpoint", 10),
    ]
    assert [link.at - links[0].at for link in links] == [0, 10, 30, 40, 50, 70, 80]


def test_a_chain_that_began_before_the_recording_tells_what_came_later() -> None:
    recorder = Recorder(SetClock())
    recorder.begin("pods", [pod(5, node="a")], 5)
    recorder.take("pods", MODIFIED, pod(6, node="a", running=True))
    assert [link.step for link in chain(recorder, POD)] == ["start"]


def test_changes_are_told_newest_first_and_by_object() -> None:
    recorder, _ = rollout()
    assert [one["revision"] for one in latest(recorder, 3)] == [10, 9, 8]
    assert [one["revision"] for one in latest(recorder, 9, key=POD)] == [9, 7, 6, 5]
    assert latest(recorder, 9, namespace="elsewhere") == []


def test_what_a_change_changed() -> None:
    recorder, _ = rollout()
    assert changed(recorder, 6)["differences"] == [{"path": "spec.nodeName", "before": None, "after": "a"}]
    assert changed(recorder, 9)["differences"] == [{"path": "status.conditions[Ready].status", "before": "False", "after": "True"}]
    recorder.take("pods", DELETED, pod(11))
    (gone,) = changed(recorder, 11)["differences"]
    assert gone["path"] == "" and gone["after"] is None and gone["before"]["metadata"]["name"] == "web-1-a"
    with pytest.raises(LookupError):
        changed(recorder, 99)


def test_members_of_lists_are_compared_by_their_names() -> None:
    before = [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]
    after = [{"name": "b", "image": "2"}, {"name": "c", "image": "1"}]
    assert [(one["path"], one["after"]) for one in differences(before, after)] == [
        ("[a]", None),
        ("[b].image", "2"),
        ("[c]", {"name": "c", "image": "1"}),
    ]
    assert differences(["x"], ["y"]) == [{"path": "[0]", "before": "x", "after": "y"}]


def test_a_chain_past_a_large_object_that_changed_often_holds_one_of_it_at_a_time() -> None:
    recorder, _ = rollout()
    steps = [link.step for link in chain(recorder, POD)]
    crowd = [{"addresses": [f"10.244.1.{number}"], "targetRef": {"kind": "Pod", "name": f"other-{number}"}} for number in range(1000)]
    for revision in range(20, 120):
        recorder.take("endpointslices", MODIFIED, obj("big", revision, endpoints=crowd))
        recorder.take("pods", MODIFIED, pod(revision + 200, running=True) | {"ballast": crowd})
    one = len(orjson.dumps(crowd))
    tracemalloc.start()
    try:
        assert [link.step for link in chain(recorder, POD)] == steps
        # Parsed, an object is several times its text.
        assert tracemalloc.get_traced_memory()[1] < 50 * one
    finally:
        tracemalloc.stop()
