"""A database keeps its data: through its pod's end, its node's drain and the whole cluster's end, and no longer than its claim.

The database is the machine's own etcd, run by a StatefulSet with a claim of the default class.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import ensure_image
from tests.support.knarr_cluster import KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.etcd, pytest.mark.timeout(180)]

POD, CLAIM = "store-0", "data-store-0"
MANIFEST = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  serviceName: store
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec:
      terminationGracePeriodSeconds: 5
      securityContext: {fsGroup: 4711, fsGroupChangePolicy: OnRootMismatch}
      containers:
      - name: etcd
        image: hello:1
        command: [/programs/etcd, --data-dir, /var/lib/etcd, --log-level, error]
        args: [--listen-client-urls, "http://0.0.0.0:2379", --advertise-client-urls, "http://127.0.0.1:2379"]
        readinessProbe: {tcpSocket: {port: 2379}, periodSeconds: 1}
        volumeMounts:
        - {name: data, mountPath: /var/lib/etcd, subPath: etcd}
        - {name: etcd, mountPath: /programs/etcd, readOnly: true}
        - {name: etcdctl, mountPath: /programs/etcdctl, readOnly: true}
        - {name: lib, mountPath: /lib, readOnly: true}
        - {name: lib64, mountPath: /lib64, readOnly: true}
      volumes:
      - {name: etcd, hostPath: {path: ETCD, type: File}}
      - {name: etcdctl, hostPath: {path: CTL, type: File}}
      - {name: lib, hostPath: {path: /lib}}
      - {name: lib64, hostPath: {path: /lib64}}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      resources: {requests: {storage: 64Mi}}
"""
# Nothing of one pod may be taken.
BUDGET = """
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: store}
spec: {minAvailable: 1, selector: {matchLabels: {app: store}}}
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[KnarrCluster]:
    ensure_image()
    cluster = KnarrCluster(tmp_path / "k")
    cluster.data_dir.mkdir()
    cluster.up()
    yield cluster
    cluster.down()


def programs() -> dict[str, str]:
    found = {name: shutil.which(name) for name in ("etcd", "etcdctl")}
    assert all(found.values()), found
    return {name: str(Path(path or "").resolve()) for name, path in found.items()}


def ask(cluster: KnarrCluster, *arguments: str) -> str:
    return cluster.kubectl("exec", POD, "--", "/programs/etcdctl", *arguments).stdout.strip()


def uid_when_ready(cluster: KnarrCluster, other_than: str = "") -> str:
    def ready() -> Any:
        pods = [pod for pod in cluster.ready_pods("app=store") if pod["metadata"]["uid"] != other_than]
        return pods and pods[0]["metadata"]["uid"]

    return str(cluster.wait_for("the database to be ready", ready))


def filled(cluster: KnarrCluster) -> str:
    """The uid of the database's pod, once something is kept there."""
    own = programs()
    cluster.apply(MANIFEST.replace("ETCD", own["etcd"]).replace("CTL", own["etcdctl"]))
    first = uid_when_ready(cluster)
    assert ask(cluster, "put", "ship", "knarr") == "OK"
    return first


def test_a_database_keeps_its_data_as_long_as_its_claim(machine: KnarrCluster) -> None:
    first = filled(machine)
    machine.kubectl("delete", "pod", POD)
    uid_when_ready(machine, first)
    assert ask(machine, "get", "ship", "--print-value-only") == "knarr"
    volume = machine.get("pvc", CLAIM)["spec"]["volumeName"]
    folder = machine.data_dir / "kubelet" / "local-path" / volume
    assert folder.is_dir() and folder.stat().st_gid == 4711
    machine.down()
    assert (folder / "etcd").is_dir()
    machine.up()
    uid_when_ready(machine)
    assert ask(machine, "get", "ship", "--print-value-only") == "knarr"
    machine.kubectl("delete", "statefulset", "store")
    machine.kubectl("delete", "pvc", CLAIM)
    machine.wait_for("the volume to be gone", lambda: not machine.kubectl("get", "pv", "-o", "name").stdout)
    assert not folder.exists()


def test_a_drained_database_waits_for_its_node_and_its_budget_is_kept(machine: KnarrCluster) -> None:
    first = filled(machine)
    machine.apply(BUDGET)
    machine.wait_for("the budget", lambda: machine.get("pdb", "store").get("status", {}).get("currentHealthy"))
    refused = machine.kubectl("drain", machine.node, "--timeout=3s", check=False)
    assert refused.returncode != 0 and "would violate the pod's disruption budget" in refused.stderr
    assert [pod["metadata"]["uid"] for pod in machine.ready_pods("app=store")] == [first]

    machine.kubectl("patch", "pdb", "store", "--type=merge", "-p", '{"spec": {"minAvailable": null, "maxUnavailable": 1}}')
    machine.kubectl("drain", machine.node, "--timeout=60s")

    def told() -> str | None:
        found = [pod for pod in machine.pods("app=store") if pod["metadata"]["uid"] != first]
        conditions = found[0]["status"].get("conditions", []) if found else []
        return next((entry["message"] for entry in conditions if entry.get("reason") == "Unschedulable"), None)

    assert "1 node(s) were unschedulable" in machine.wait_for("the pod that waits", told)
    machine.kubectl("uncordon", machine.node)
    uid_when_ready(machine, first)
    assert ask(machine, "get", "ship", "--print-value-only") == "knarr"
