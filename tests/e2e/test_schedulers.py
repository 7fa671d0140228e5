"""Schedulers as processes over an API server: one that binds dies amid it and another one goes on, and one asks an extender over HTTP that
is away for a while."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster_client import BIN, ROOT
from tests.support.components import Components
from tests.support.ports import free_port
from tests.support.processes import end

pytestmark = [pytest.mark.etcd, pytest.mark.cluster, pytest.mark.timeout(240)]

EXAMPLE = ROOT / "examples/scheduler-extender"
# There is room for all pods, and for no more: what is promised twice, or forgotten, leaves one without a node.
NODES, ROOM = 8, 20
PODS = NODES * ROOM
LEASE = "knarr-scheduler"
STOP_SECONDS = 20.0


@contextmanager
def control_plane(folder: Path, *nodes: dict[str, Any]) -> Iterator[Components]:
    """etcd, an API server, and nodes that nobody keeps."""
    parts = Components(folder)
    try:
        parts.etcd.start()
        parts.start("apiserver")
        parts.wait_for("the API server", lambda: parts.kubectl("create", "serviceaccount", "default", check=False).returncode == 0)
        create(parts, *nodes)
        yield parts
    finally:
        parts.stop()


def create(parts: Components, *objects: dict[str, Any]) -> None:
    parts.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def node(name: str, pods: int = ROOM) -> dict[str, Any]:
    status = {"allocatable": {"cpu": "64", "memory": "64Gi", "pods": str(pods)}, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status}


def pod(name: str) -> dict[str, Any]:
    tolerations = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]
    spec = {"containers": [{"name": "app", "image": "app:1"}], "tolerations": tolerations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def placed(parts: Components) -> dict[str, str]:
    """By pod the node that it has."""
    found = parts.get("pods")["items"]
    return {one["metadata"]["name"]: one["spec"]["nodeName"] for one in found if one["spec"].get("nodeName")}


@contextmanager
def watched(parts: Components) -> Iterator[dict[str, set[str]]]:
    """By pod all nodes that a watcher has seen it on, meanwhile."""
    seen = defaultdict[str, set[str]](set)
    names = "{.metadata.name} {.spec.nodeName}{'\\n'}"
    command = [str(BIN / "kubectl"), "--kubeconfig", str(parts.data_dir / "kubeconfig"), "get", "pods", "-w", "-o", f"jsonpath={names}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        reading = threading.Thread(target=_read, args=(process, seen))
        reading.start()
        try:
            yield seen
        finally:
            end(process, signal.SIGTERM, STOP_SECONDS)
            reading.join(STOP_SECONDS)


def _read(process: subprocess.Popen[bytes], seen: defaultdict[str, set[str]]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        name, _, on = line.decode().strip().partition(" ")
        seen[name].add(on)


def test_a_scheduler_dies_while_it_binds_and_another_one_goes_on(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(PODS)]
    with control_plane(tmp_path, *(node(f"n{number}") for number in range(NODES))) as parts, watched(parts) as seen:
        parts.start("scheduler")
        first = parts.wait_for("a leader", lambda: parts.holder(LEASE))
        parts.start("scheduler-2")
        parts.wait_for("the second to stand by", lambda: parts.healthy("scheduler-2"))
        # They come one after the other, and are bound meanwhile.
        coming = threading.Thread(target=create, args=(parts, *map(pod, names)))
        coming.start()
        parts.wait_for("some pods to be bound", lambda: len(placed(parts)) >= PODS // 8)
        parts.kill("scheduler")
        before = placed(parts)
        coming.join()
        assert len(before) < PODS
        after = parts.wait_for("all pods to be bound", lambda: found if len(found := placed(parts)) == PODS else None)
        assert parts.holder(LEASE) not in ("", first)
        # Whom the first has bound stays where it is; nobody is forgotten, and no room promised twice.
        assert before.items() <= after.items() and after.keys() == set(names)
        assert Counter(after.values()) == dict.fromkeys((f"n{number}" for number in range(NODES)), ROOM)
        parts.wait_for("the watch to follow", lambda: all(seen[name] >= {after[name]} for name in names))
        assert all(seen[name] <= {"", after[name]} for name in names)
        # It comes back, and has nothing to do but to stand by.
        parts.start("scheduler")
        parts.wait_for("the first to stand by", lambda: parts.healthy("scheduler"))
        assert placed(parts) == after


@contextmanager
def extender(port: int, closed: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, str(EXAMPLE / "extender.py"), f"--port={port}", f"--closed={closed}"])
    try:
        yield
    finally:
        end(process, signal.SIGTERM, STOP_SECONDS)


def waiting(parts: Components, name: str) -> tuple[str, str]:
    """Why a pod has no node: the reason and the message of its condition."""
    found = parts.get("pod", name)
    told: dict[str, str] = next(
        (one for one in found["status"].get("conditions", ()) if one["type"] == "PodScheduled" and one["status"] == "False"), {}
    )
    return told.get("reason", ""), told.get("message", "")


def test_an_extender_is_asked_over_http_and_may_be_away(tmp_path: Path) -> None:
    port, closed, configuration = free_port(), tmp_path / "closed", tmp_path / "scheduler.yaml"
    configuration.write_text((EXAMPLE / "scheduler.yaml").read_text().replace("8888", str(port)))
    with control_plane(tmp_path, *map(node, "abc")) as parts:
        parts.more = {"scheduler": (f"--config={configuration}",)}
        with extender(port, closed):
            closed.write_text("a\n")
            parts.start("scheduler")
            # The first by name of those that are open.
            create(parts, pod("one"))
            parts.wait_for("the pod to be bound", lambda: placed(parts) == {"one": "b"})
            closed.write_text("a b c\n")
            create(parts, pod("two"))
            parts.wait_for("the pod to be refused", lambda: "3 node(s) were closed" in waiting(parts, "two")[1])
            assert waiting(parts, "two")[0] == "Unschedulable"
            closed.write_text("b c\n")
            # Something happens: it is tried again.
            create(parts, node("d"))
            parts.wait_for("it to be bound", lambda: placed(parts).get("two") == "a")
        create(parts, pod("three"))
        parts.wait_for("the scheduler to tell that it cannot ask", lambda: waiting(parts, "three")[0] == "SchedulerError")
        assert "three" not in placed(parts)
        with extender(port, closed):
            parts.wait_for("the pod to be bound when it can", lambda: placed(parts).get("three") == "a")
