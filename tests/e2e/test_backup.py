"""A one-machine cluster is backed up, loses things, and is what it was after the restore."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from aetcd import rpc

from services.standalone.etcd_process import EtcdProcess
from services.standalone.files import Files
from tests.support.knarr_cluster import BIN, KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.etcd, pytest.mark.timeout(180)]
ALL = "deployments,replicasets,services,configmaps,secrets,serviceaccounts,namespaces"


def registry(cluster: KnarrCluster) -> dict[bytes, bytes]:
    """All keys and values, but for what the living cluster itself writes all the time."""

    async def read() -> dict[bytes, bytes]:
        options = [("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(EtcdProcess(Files(cluster.data_dir).etcd).endpoint, options=options) as channel:
            answer = await rpc.KVStub(channel).Range(rpc.RangeRequest(key=b"/registry/", range_end=b"/registry0"), timeout=20)
        return {kv.key: kv.value for kv in answer.kvs}

    changing = (
        b"/registry/leases/",
        b"/registry/events/",
        b"/registry/minions/",
        b"/registry/pods/",
        b"/registry/endpointslices/kube-system/",
    )
    return {key: value for key, value in asyncio.run(read()).items() if not key.startswith(changing)}


def deployment(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "hello:1"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def watch_from(cluster: KnarrCluster, revision: str) -> str:
    """What a client hears that goes on with a watch of before."""
    path = f"/api/v1/namespaces/default/configmaps?watch=1&resourceVersion={revision}&timeoutSeconds=2"
    command = [str(BIN / "kubectl"), "--kubeconfig", str(cluster.data_dir / "kubeconfig"), "get", "--raw", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def test_a_restored_cluster_is_what_it_was(tmp_path: Path) -> None:
    cluster = KnarrCluster(tmp_path / "k", runtime="hollow", datapath="userspace")
    cluster.data_dir.mkdir()
    data_dir = ("--data-dir", str(cluster.data_dir))
    file = tmp_path / "state.db"
    try:
        cluster.up()
        cluster.apply(deployment("kept", 3))
        cluster.kubectl("create", "configmap", "kept", "--from-literal=a=1")
        cluster.kubectl("create", "secret", "generic", "kept", "--from-literal=b=2")
        cluster.kubectl("expose", "deployment", "kept", "--port=80")
        cluster.kubectl("rollout", "status", "deployment", "kept", "--timeout=60s")
        cluster.wait_for("endpoints", lambda: len(cluster.get("endpoints", "kept")["subsets"][0]["addresses"]) == 3)
        said = cluster.knarr("backup", *data_dir, str(file)).stdout
        assert f"{file}: " in said and " keys as of revision " in said
        before, uids = registry(cluster), {pod["metadata"]["uid"] for pod in cluster.pods("app=kept")}

        cluster.kubectl("delete", "deployment", "kept")
        cluster.kubectl("patch", "configmap", "kept", "-p", '{"data": {"a": "lost"}}')
        cluster.apply(deployment("later", 2))
        lost = json.loads(cluster.kubectl("get", "configmap", "kept", "-o", "json").stdout)["metadata"]["resourceVersion"]
        refused = cluster.knarr("restore", *data_dir, str(file), check=False)
        assert refused.returncode == 1 and "the cluster runs; stop it first" in refused.stderr

        cluster.down()
        refused = cluster.knarr("restore", *data_dir, str(file), check=False)
        assert refused.returncode == 1 and "has a state already" in refused.stderr
        assert "is kept in " in cluster.knarr("restore", *data_dir, "--replace", str(file)).stdout
        cluster.up()
        after = registry(cluster)
        assert after.keys() == before.keys()
        assert {key for key in before if before[key] != after[key]} <= {b"/registry/deployments/default/kept", *controlled(before)}
        cluster.kubectl("rollout", "status", "deployment", "kept", "--timeout=60s")
        assert {pod["metadata"]["uid"] for pod in cluster.ready_pods("app=kept")} == uids
        assert cluster.get("configmap", "kept")["data"] == {"a": "1"}
        assert "later" not in cluster.kubectl("get", "deployments", "-o", "name").stdout
        # A revision of what was lost is no place to go on from.
        assert "too old resource version" in watch_from(cluster, lost)
        cluster.kubectl("create", "configmap", "new")
    finally:
        cluster.down()


def controlled(found: dict[bytes, bytes]) -> set[bytes]:
    """Keys that controllers may have written again since the start, with the same meaning."""
    prefixes = (b"/registry/replicasets/", b"/registry/services/endpoints/", b"/registry/endpointslices/", b"/registry/ranges/")
    return {key for key in found if key.startswith(prefixes)}
