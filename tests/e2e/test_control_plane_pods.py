"""What the cluster is made of, as kubectl shows it: the node's role, the components as pods, their logs and ports."""

from __future__ import annotations

import ssl
import subprocess
from urllib.request import Request, urlopen

import pytest

from services.standalone.parts import KINDS
from tests.support.knarr_cluster import BIN, KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

# Its name is the machine's, not that by which it is reached here.
NOBODY = ssl.create_default_context()
NOBODY.check_hostname, NOBODY.verify_mode = False, ssl.CERT_NONE


def test_the_components_are_pods_of_a_node_with_the_role(cluster: KnarrCluster) -> None:
    cluster.wait_for("all components", lambda: len(cluster.ready_pods("tier in (control-plane,node)", "kube-system")) == len(KINDS))
    found = cluster.pods("tier in (control-plane,node)", "kube-system")
    assert sorted(pod["metadata"]["name"] for pod in found) == sorted(f"{kind.name}-{cluster.node}" for kind in KINDS.values())
    assert "control-plane" in cluster.kubectl("get", "nodes").stdout
    # They wait for nothing, so that whoever waits for them goes on.
    cluster.kubectl("wait", "--for=condition=Ready", "pods", "--all", "-n", "kube-system", "--timeout=20s")


def test_their_logs_are_the_components_own(cluster: KnarrCluster) -> None:
    said = cluster.kubectl("logs", "-n", "kube-system", f"kube-scheduler-{cluster.node}", "--timestamps").stdout.splitlines()
    assert said and all(" knarr.service.host " in line or " services.scheduler" in line for line in said if " info " in line)
    assert cluster.kubectl("logs", "-n", "kube-system", f"kube-apiserver-{cluster.node}", "--tail=1").stdout.count("\n") == 1
    refused = cluster.kubectl("exec", "-n", "kube-system", f"etcd-{cluster.node}", "--", "sh", check=False)
    assert (
        refused.returncode == 1 and "there is no container to run anything in" in refused.stderr and "`knarr logs etcd`" in refused.stderr
    )


def test_their_ports_are_the_machines(cluster: KnarrCluster) -> None:
    path = f"/api/v1/namespaces/kube-system/pods/https:kube-apiserver-{cluster.node}:{cluster.ports['rest']}/proxy/livez"
    assert cluster.kubectl("get", "--raw", path).stdout == "ok"
    command = [str(BIN / "kubectl"), "--kubeconfig", str(cluster.data_dir / "kubeconfig"), "port-forward", "-n", "kube-system"]
    command += [f"kube-apiserver-{cluster.node}", f":{cluster.ports['rest']}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forwarding:
        assert forwarding.stdout is not None
        port = forwarding.stdout.readline().split(" ->")[0].rpartition(":")[2]
        with urlopen(f"https://127.0.0.1:{port}/livez", timeout=20, context=NOBODY) as answer:
            asked = answer.read()
        forwarding.terminate()
    assert asked == b"ok"


def test_metrics_are_found_where_kubernetes_tools_look(cluster: KnarrCluster) -> None:
    command = [str(BIN / "kubectl"), "--kubeconfig", str(cluster.data_dir / "kubeconfig"), "port-forward", "-n", "kube-system"]
    command += [f"kube-scheduler-{cluster.node}", ":10259"]
    token = (cluster.data_dir / "token").read_text().strip()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forwarding:
        assert forwarding.stdout is not None
        port = forwarding.stdout.readline().split(" ->")[0].rpartition(":")[2]
        asked = Request(f"https://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"})
        with urlopen(asked, timeout=20, context=NOBODY) as answer:
            text = answer.read()
        forwarding.terminate()
    assert b"\nknarr_scheduler_" in text


def test_a_drain_leaves_them_alone(cluster: KnarrCluster) -> None:
    told = cluster.kubectl("drain", cluster.node, "--ignore-daemonsets", "--dry-run=server", "--force", "--delete-emptydir-data").stdout
    assert "kube-scheduler" not in told
