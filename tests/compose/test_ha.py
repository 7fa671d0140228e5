"""The compose cluster with its profile `ha`: any one of each may die while a rollout runs and somebody asks the API."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.api_probe import ApiProbe
from tests.support.cluster_client import BIN
from tests.support.compose import NETWORK, NODES, ComposeCluster
from tests.support.engine import IMAGE

pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]

APP = "available"
REPLICAS = 4
ROLLOUT_SECONDS = 90
# Lease duration, and what a loaded machine adds.
FAILOVER_SECONDS = 25.0
RELEASE_SECONDS = 8.0
SCHEDULER_LEASE, CONTROLLER_LEASE = "knarr-scheduler", "knarr-controller-manager"
ETCD = {"etcd": 131, "etcd-2": 132, "etcd-3": 133}
PAIRS = ("apiserver", "scheduler", "controller")


def deployment() -> dict[str, Any]:
    container = {"name": "web", "image": IMAGE, "command": ["sh", "-c", "exec sleep 100000"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    template = {"metadata": {"labels": {"app": APP}}, "spec": spec}
    labels = {"matchLabels": {"app": APP}}
    wanted = {"replicas": REPLICAS, "selector": labels, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": APP}, "spec": wanted}


def service_of(container: dict[str, Any]) -> str:
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


@pytest.fixture(scope="module")
def available(cluster: ComposeCluster) -> Iterator[ComposeCluster]:
    """The running cluster, grown, with an app."""
    cluster.knarr_load(IMAGE)
    cluster.apply(deployment())
    cluster.kubectl("rollout", "status", "deployment", APP, f"--timeout={ROLLOUT_SECONDS}s")
    before = {container["Id"] for container in cluster.containers()}
    grow(cluster)
    assert before <= {container["Id"] for container in cluster.containers()}, "growing has made containers anew"
    yield cluster
    cluster.kubectl("delete", "deployment", APP)


def grow(cluster: ComposeCluster) -> None:
    cluster.compose("--profile", "ha", "up", "--detach", "--wait", "--wait-timeout", "120")


def members(cluster: ComposeCluster) -> dict[str, bool]:
    """The voting members of etcd that answer, by name, and whether each leads."""
    found = {}
    for name in ETCD:
        if any(service_of(container) == name for container in cluster.containers()):
            lines = cluster.in_node(name, "etcdctl", "endpoint", "status").split(", ")
            assert lines[5] == "false", f"{name} has no vote"
            found[name] = lines[4] == "true"
    return found


def holder(cluster: ComposeCluster, lease: str) -> str:
    """The compose service whose container holds a lease; empty when none that runs does."""
    identity = cluster.kubectl("get", "lease", "-n", "kube-system", lease, "-o", "jsonpath={.spec.holderIdentity}").stdout
    return next(
        (service_of(found) for found in cluster.containers() if identity and found["Id"].startswith(identity.partition("_")[0])), ""
    )


def is_followed(cluster: ComposeCluster, lease: str, before: str) -> bool:
    """Whether another one than that before holds a lease."""
    return holder(cluster, lease) not in ("", before)


def rollout_while(cluster: ComposeCluster, disturb: Callable[[], Any]) -> None:
    """A rollout that begins before ``disturb`` and must finish after it."""
    names = {pod["metadata"]["name"] for pod in cluster.ready_pods(f"app={APP}")}
    cluster.kubectl("rollout", "restart", "deployment", APP)
    disturb()
    cluster.kubectl("rollout", "status", "deployment", APP, f"--timeout={ROLLOUT_SECONDS}s")
    now = {pod["metadata"]["name"] for pod in cluster.ready_pods(f"app={APP}")}
    assert len(now) == REPLICAS and not names & now


def probe(cluster: ComposeCluster) -> ApiProbe:
    return ApiProbe("127.0.0.1", int(cluster.environment["KNARR_API_PORT"]), cluster.data_dir)


def endpoints(cluster: ComposeCluster) -> list[str]:
    found = cluster.get("endpoints", "kubernetes")
    return [address["ip"] for address in found["subsets"][0]["addresses"]]


def test_everything_is_there_more_than_once(available: ComposeCluster) -> None:
    leads = members(available)
    assert leads.keys() == ETCD.keys() and list(leads.values()).count(True) == 1
    assert len(endpoints(available)) == 2
    for lease in (SCHEDULER_LEASE, CONTROLLER_LEASE):
        assert holder(available, lease).removesuffix("-2") in PAIRS


def test_any_one_of_each_may_die_while_a_rollout_runs(available: ComposeCluster) -> None:
    """In turn and without repair in between: at the end one of each is left dead."""
    leader = next(name for name, leads in members(available).items() if leads)
    dead: list[str] = []

    def kill(*services: str) -> None:
        for service in services:
            dead.append(service)
            available.compose("kill", service)

    with probe(available) as asking:
        rollout_while(available, lambda: kill(leader))
        assert asking.failed_writes == [], "a dying member of etcd made writes fail"
        rollout_while(available, lambda: kill("apiserver"))
        # What was under way on the server that died cannot be answered; one connection has one request under way.
        assert len(asking.failed_writes) <= 1
        broken = len(asking.failed_writes)
        leaders = {lease: holder(available, lease) for lease in (SCHEDULER_LEASE, CONTROLLER_LEASE)}
        rollout_while(available, lambda: kill(*leaders.values()))
        for lease, before in leaders.items():
            # The rollout may have been over before the leader was missed.
            available.wait_for("another leader", partial(is_followed, available, lease, before), seconds=FAILOVER_SECONDS)
        assert len(asking.failed_writes) == broken
    assert asking.failed_reads == [] and asking.stale == []
    assert asking.reads > 100
    assert asking.longest_seconds < 10

    assert {name.removesuffix("-2").removesuffix("-3") for name in dead} == {"etcd", *PAIRS}
    grow(available)
    assert members(available).keys() == ETCD.keys()
    available.wait_for("both API servers in the kubernetes Service", lambda: len(endpoints(available)) == 2)
    available.wait_for("both nodes", lambda: available.ready_nodes() == set(NODES))


@pytest.mark.parametrize("lease", [SCHEDULER_LEASE, CONTROLLER_LEASE])
def test_a_leader_that_is_stopped_is_followed_at_once(available: ComposeCluster, lease: str) -> None:
    before = available.wait_for("a leader", lambda: holder(available, lease))
    identity = available.get("lease", "-n", "kube-system", lease)["spec"]["holderIdentity"]
    started = time.monotonic()
    available.compose("stop", before)
    available.wait_for("another leader", lambda: is_followed(available, lease, before), seconds=FAILOVER_SECONDS)
    assert time.monotonic() - started < RELEASE_SECONDS, f"{identity} did not release its lease"


def test_a_member_of_etcd_that_lost_its_data_joins_anew(available: ComposeCluster) -> None:
    before = set(available.kubectl("get", "configmaps,secrets,leases", "-A", "-o", "name").stdout.split())
    available.compose("--profile", "ha", "rm", "--force", "--stop", "etcd-3")
    available.docker("volume", "rm", f"{available.environment['KNARR_COMPOSE_NAME']}_etcd-3")
    grow(available)
    assert members(available).keys() == ETCD.keys()
    assert before <= set(available.kubectl("get", "configmaps,secrets,leases", "-A", "-o", "name").stdout.split())


def test_kubectl_follows_a_watch_across_the_death_of_its_server(available: ComposeCluster) -> None:
    """A new connection of the same watch goes on at the other server. This time it is the second one that dies."""
    command = [str(BIN / "kubectl"), "--kubeconfig", str(available.data_dir / "kubeconfig"), "get", "--raw"]
    listed = subprocess.run([*command, "/api/v1/namespaces/default/configmaps"], capture_output=True, text=True, check=True, timeout=30)
    revision = json.loads(listed.stdout)["metadata"]["resourceVersion"]
    available.compose("kill", "apiserver-2")
    available.kubectl("create", "configmap", "after-the-death")
    path = f"/api/v1/namespaces/default/configmaps?watch=1&resourceVersion={revision}&timeoutSeconds=2"
    done = subprocess.run([*command, path], capture_output=True, text=True, check=True, timeout=30)
    assert '"after-the-death"' in done.stdout
    grow(available)


def test_a_backup_is_restored_and_the_members_follow(available: ComposeCluster) -> None:
    """What was made after the backup is gone, what was there is there again, on every member of etcd."""
    available.kubectl("create", "configmap", "saved", "--from-literal=a=1")
    uids = {pod["metadata"]["uid"] for pod in available.ready_pods(f"app={APP}")}
    snapshot = available.data_dir / "backup.db"
    available.shell(f"docker compose exec -T etcd knarr-etcd backup >{snapshot}")
    available.kubectl("delete", "configmap", "saved")
    available.kubectl("create", "configmap", "lost")

    available.compose("--profile", "ha", "stop")
    refused = available.shell(f"docker compose run --rm -T --no-deps etcd restore <{snapshot}", check=False)
    assert "there is a state already" in refused.stderr
    refused = available.shell(f"head -c 70000 {snapshot} | docker compose run --rm -T --no-deps etcd restore force", check=False)
    assert "nothing has changed" in refused.stderr
    done = available.shell(f"docker compose run --rm -T --no-deps etcd restore force <{snapshot}")
    assert "is kept in the volume as before-restore-" in done.stderr
    for name in ("etcd-2", "etcd-3"):
        available.shell(f"docker compose --profile ha run --rm -T --no-deps {name} forget")
    grow(available)
    assert members(available).keys() == ETCD.keys()
    assert available.get("configmap", "saved")["data"] == {"a": "1"}
    assert "lost" not in available.kubectl("get", "configmaps", "-o", "name").stdout
    available.wait_for("both nodes", lambda: available.ready_nodes() == set(NODES))
    available.wait_for("the app's pods", lambda: {pod["metadata"]["uid"] for pod in available.ready_pods(f"app={APP}")} == uids)
    for name in ETCD:
        keys = available.in_node(name, "etcdctl", "get", "/registry/configmaps/default/", "--prefix", "--keys-only").split()
        assert "/registry/configmaps/default/saved" in keys and "/registry/configmaps/default/lost" not in keys


# A snapshot becomes a member as one was before members spoke TLS: known to the others at a port in plain text.
PLAIN = """
set -eu; cd /var/lib/etcd; cat >incoming.db
etcdctl snapshot restore incoming.db --data-dir=fresh --name=$(hostname) --initial-cluster={cluster} \\
    --initial-advertise-peer-urls=http://$ADDRESS:2380 --initial-cluster-token=plain
rm -rf member peers-by-tls incoming.db; mv fresh/member member; rmdir fresh
"""


def test_members_that_spoke_in_plain_text_go_over_to_tls_together(available: ComposeCluster) -> None:
    """Three at once, as an upgrade recreates them; nothing of what was stored is lost."""
    available.kubectl("create", "configmap", "plain")
    snapshot = available.data_dir / "plain.db"
    available.shell(f"docker compose exec -T etcd knarr-etcd backup >{snapshot}")
    available.compose("--profile", "ha", "stop")
    everyone = ",".join(f"{name}=http://{NETWORK}.{number}:2380" for name, number in ETCD.items())
    for name in ETCD:
        script = PLAIN.format(cluster=everyone)
        available.shell(f"docker compose --profile ha run --rm -T --no-deps --entrypoint bash {name} -c '{script}' <{snapshot}")
    grow(available)
    assert members(available).keys() == ETCD.keys()

    def urls() -> set[str]:
        return {line.split(", ")[3] for line in available.in_node("etcd", "etcdctl", "member", "list").splitlines()}

    available.wait_for("all to be reached by TLS", lambda: urls() == {f"https://{NETWORK}.{number}:2382" for number in ETCD.values()})
    assert available.kubectl("get", "configmap", "plain").stdout
    # From the next start on nobody listens without it.
    for name, number in ETCD.items():
        available.compose("restart", name)
        grow(available)
        code = f'import socket; socket.create_connection(("{NETWORK}.{number}", 2380), 3)'
        done = available.shell(f"docker compose exec -T apiserver python -c '{code}'", check=False)
        assert "ConnectionRefusedError" in done.stderr
    available.kubectl("create", "configmap", "moved")
