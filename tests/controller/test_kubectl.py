"""What a person does to Deployments with kubectl, against the real API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.controller.live import LiveCluster, live_cluster
from tests.support.etcd import running_etcd

pytestmark = pytest.mark.etcd

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: app
        image: app:1
        ports: [{containerPort: 8080, name: http}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
"""


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[LiveCluster]:
    with running_etcd(tmp_path) as etcd:
        async with live_cluster(etcd, tmp_path) as cluster:
            yield cluster


async def deploy(live: LiveCluster) -> None:
    await live.kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "successfully rolled out" in await live.kubectl("rollout", "status", "deployment/web")


async def images(live: LiveCluster) -> set[str]:
    found = json.loads(await live.kubectl("get", "pods", "-l", "app=web", "-o", "json"))
    return {pod["spec"]["containers"][0]["image"] for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]}


async def gone(live: LiveCluster, resource: str, *arguments: str) -> None:
    async with asyncio.timeout(30):
        while await live.names(resource, *arguments):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_rollouts_are_watched_undone_listed_and_restarted(live: LiveCluster) -> None:
    await deploy(live)
    await live.kubectl("set", "image", "deployment/web", "app=app:2")
    assert "successfully rolled out" in await live.kubectl("rollout", "status", "deployment/web")
    assert await images(live) == {"app:2"}
    assert "rolled back" in await live.kubectl("rollout", "undo", "deployment/web")
    assert "successfully rolled out" in await live.kubectl("rollout", "status", "deployment/web")
    assert await images(live) == {"app:1"}
    history = await live.kubectl("rollout", "history", "deployment/web")
    assert [line.split()[0] for line in history.splitlines() if line[:1].isdigit()] == ["2", "3"]
    assert "app:2" in await live.kubectl("rollout", "history", "deployment/web", "--revision=2")
    await live.kubectl("rollout", "restart", "deployment/web")
    await live.kubectl("rollout", "status", "deployment/web")
    assert len(await live.names("replicasets")) == 3
    described = await live.kubectl("describe", "deployment/web")
    assert "ScalingReplicaSet" in described
    assert "NewReplicaSetAvailable" in described


async def ready_endpoints(live: LiveCluster) -> list[dict[str, Any]]:
    slices = json.loads(await live.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", "json"))
    return [endpoint for found in slices["items"] for endpoint in found["endpoints"] if endpoint["conditions"]["ready"]]


async def test_a_paused_rollout_waits_for_resume(live: LiveCluster) -> None:
    await deploy(live)
    await live.kubectl("rollout", "pause", "deployment/web")
    await live.kubectl("set", "image", "deployment/web", "app=app:2")
    await live.kubectl("scale", "deployment/web", "--replicas=5")
    await live.kubectl("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=5", "--timeout=10s")
    assert await images(live) == {"app:1"}
    await live.kubectl("rollout", "resume", "deployment/web")
    await live.kubectl("rollout", "status", "deployment/web")
    assert await images(live) == {"app:2"}
    # A rollout is over when its pods are ready; their endpoints are written right after.
    async with asyncio.timeout(10):
        while len(ready := await ready_endpoints(live)) < 5:
            continue
    assert len(ready) == 5
    assert ready[0]["targetRef"]["kind"] == "Pod"


async def test_a_rollout_goes_back_to_a_revision_that_is_named(live: LiveCluster) -> None:
    await deploy(live)
    for image in ("app:2", "app:3"):
        await live.kubectl("set", "image", "deployment/web", f"app={image}")
        await live.kubectl("rollout", "status", "deployment/web")
    assert "rolled back" in await live.kubectl("rollout", "undo", "deployment/web", "--to-revision=1")
    await live.kubectl("rollout", "status", "deployment/web")
    assert await images(live) == {"app:1"}
    assert await listed(live, "deployment/web") == ["2", "3", "4"]


async def listed(live: LiveCluster, workload: str) -> list[str]:
    """The revisions in a workload's history."""
    history = await live.kubectl("rollout", "history", workload)
    return [line.split()[0] for line in history.splitlines() if line[:1].isdigit()]


async def test_a_daemon_set_is_rolled_undone_and_left_alone_by_drain(live: LiveCluster) -> None:
    manifest = json.loads(await live.kubectl("create", "-f", "-", "--dry-run=client", "-o", "json", stdin=MANIFEST.split("---")[0]))
    manifest["kind"] = "DaemonSet"
    del manifest["spec"]["replicas"]
    assert "Warning" not in await live.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    assert "successfully rolled out" in await live.kubectl("rollout", "status", "daemonset/web")
    await live.kubectl("set", "image", "daemonset/web", "app=app:2")
    assert "successfully rolled out" in await live.kubectl("rollout", "status", "daemonset/web")
    assert await images(live) == {"app:2"}
    assert await listed(live, "daemonset/web") == ["1", "2"]
    assert "app:1" in await live.kubectl("rollout", "history", "daemonset/web", "--revision=1")
    assert "rolled back" in await live.kubectl("rollout", "undo", "daemonset/web", "--to-revision=1")
    await live.kubectl("rollout", "status", "daemonset/web")
    assert await images(live) == {"app:1"}
    assert await listed(live, "daemonset/web") == ["2", "3"]
    await live.kubectl("rollout", "restart", "daemonset/web")
    await live.kubectl("rollout", "status", "daemonset/web")
    before = await live.names("pods")
    drained = await live.kubectl("drain", "node-1", "--ignore-daemonsets")
    assert "ignoring DaemonSet-managed Pods" in drained and await live.names("pods") == before
    described = await live.kubectl("describe", "daemonset/web")
    assert "SuccessfulCreate" in described and "Pods Status:  1 Running / 0 Waiting" in described
    await live.kubectl("delete", "daemonset/web", "--cascade=foreground")
    assert await live.names("pods") == await live.names("controllerrevisions") == []


async def test_a_replication_controller_is_scaled_and_described(live: LiveCluster) -> None:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}
    manifest = {
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "metadata": {"name": "web"},
        "spec": {"replicas": 1, "template": template},
    }
    assert "Warning" not in await live.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    await live.kubectl("wait", "rc/web", "--for=jsonpath={.status.readyReplicas}=1", "--timeout=10s")
    await live.kubectl("scale", "rc/web", "--replicas=3", "--current-replicas=1")
    await live.kubectl("wait", "rc/web", "--for=jsonpath={.status.availableReplicas}=3", "--timeout=10s")
    described = await live.kubectl("describe", "rc/web")
    assert "3 current / 3 desired" in described and "SuccessfulCreate" in described
    await live.kubectl("delete", "rc/web")
    await gone(live, "pods")


async def test_deletes_cascade_as_asked(live: LiveCluster) -> None:
    await deploy(live)
    await live.kubectl("delete", "deployment/web", "--cascade=orphan")
    assert len(await live.names("replicasets")) == 1
    assert len(await live.names("pods")) == 3
    await live.kubectl("apply", "-f", "-", stdin=MANIFEST)
    await live.kubectl("rollout", "status", "deployment/web")
    assert len(await live.names("replicasets")) == 1
    await live.kubectl("delete", "deployment/web", "--cascade=foreground")
    assert await live.names("replicasets") == []
    await live.kubectl("apply", "-f", "-", stdin=MANIFEST)
    await live.kubectl("rollout", "status", "deployment/web")
    await live.kubectl("delete", "deployment/web", "service/web")
    await gone(live, "pods")
    await gone(live, "endpointslices", "-l", "kubernetes.io/service-name=web")


async def test_a_namespace_is_emptied_and_goes(live: LiveCluster) -> None:
    await live.kubectl("create", "namespace", "shop")
    await live.kubectl("apply", "-n", "shop", "-f", "-", stdin=MANIFEST)
    await live.kubectl("rollout", "status", "deployment/web", "-n", "shop")
    await live.kubectl("create", "configmap", "settings", "-n", "shop", "--from-literal=a=b")
    await live.kubectl("delete", "namespace", "shop")
    namespaces = await live.names("namespaces")
    assert "shop" not in namespaces
    assert "default" in namespaces
    assert await live.names("pods", "-n", "shop") == []


async def test_a_rollout_survives_the_death_of_etcd(live: LiveCluster) -> None:
    await deploy(live)
    await live.kubectl("set", "image", "deployment/web", "app=app:2")
    await live.kubectl("scale", "deployment/web", "--replicas=6")
    live.etcd.kill()
    await asyncio.sleep(1.0)
    await asyncio.to_thread(live.etcd.start)
    assert "successfully rolled out" in await live.kubectl("rollout", "status", "deployment/web")
    await live.kubectl("wait", "deployment/web", "--for=jsonpath={.status.availableReplicas}=6", "--timeout=20s")
    assert await images(live) == {"app:2"}
    assert len(await live.names("pods", "--field-selector=status.phase=Running")) == 6


async def test_a_cordoned_node_is_tainted_until_it_is_uncordoned(live: LiveCluster) -> None:
    taint = "node.kubernetes.io/unschedulable"
    await live.kubectl("cordon", "node-1")
    await live.kubectl("wait", "node/node-1", f"--for=jsonpath={{.spec.taints[0].key}}={taint}", "--timeout=5s")
    await live.kubectl("uncordon", "node-1")
    async with asyncio.timeout(10):
        while taint in await live.kubectl("get", "node", "node-1", "-o", "json"):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


BUDGET = """
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec:
  minAvailable: 1
  selector: {matchLabels: {app: web}}
"""


async def test_a_drain_takes_as_many_pods_at_a_time_as_their_budget_allows(live: LiveCluster) -> None:
    await deploy(live)
    await live.kubectl("scale", "deployment/web", "--replicas=2")
    await live.kubectl("apply", "-f", "-", stdin=BUDGET)
    await live.kubectl("wait", "pdb/web", "--for=jsonpath={.status.expectedPods}=2", "--timeout=20s")
    assert [line.split()[1:4] for line in (await live.kubectl("get", "pdb", "--no-headers")).splitlines()] == [["1", "N/A", "1"]]
    before = set(await live.names("pods"))
    told = await live.kubectl("drain", "node-1", "--timeout=60s", seconds=70)
    assert told.count("Cannot evict pod as it would violate the pod's disruption budget.") >= 1 and "node/node-1 drained" in told
    assert not before & set(await live.names("pods"))
