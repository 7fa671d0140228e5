"""kr8s, which has dialects of its own, against a whole API server."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from tests.apiserver.rest.live import LiveServer

pytestmark = pytest.mark.etcd

SCRIPT = Path(__file__).with_name("kr8s_client.py")


@pytest.fixture(scope="module")
def placed(live: LiveServer) -> None:
    """A pod on a scripted node."""
    live.call(live.client.create(core.Node(metadata=meta.ObjectMeta(name="n"))))
    pod = core.Pod(metadata=meta.ObjectMeta(name="p", namespace="default"))
    pod.spec.MergeFrom(core.PodSpec(node_name="n", containers=[core.Container(name="c", image="i", stdin=True)]))
    pod = live.call(live.client.create(pod))
    pod.status.phase = "Running"
    for condition in ("Ready", "ContainersReady"):
        pod.status.conditions.add(type=condition, status="True")
    live.call(live.client.update(pod, subresource="status"))


@pytest.mark.client("kr8s", "create", "get", "list", "patch", "delete", "watch", "exec", "port-forward", "selectors")
async def test_exec_port_forward_and_objects(live: LiveServer, placed: None) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", str(SCRIPT), str(live.kubeconfig), stdout=pipe, stderr=pipe
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert json.loads(out) == {
        "echo": ["echo hello\n", "", 0],
        "exit": ["", "failing\n", 3],
        "forwarded": ["echo one", "echo two"],
        "version": "1",
        "data": {"a": "b", "c": "d"},
        "selected": ["kr8s"],
        "changes": [["ADDED", "kr8s"], ["DELETED", "kr8s"]],
        "exists": False,
        "replicas": 2,
        "everywhere": ["kr8s"],
    }
