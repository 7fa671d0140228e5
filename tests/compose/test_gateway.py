"""Requests from outside in compose: by name through each of two gateways, by their load balancer's address, and with one of them killed."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.compose import NETWORK, NODES, ComposeCluster
from tests.support.engine import IMAGE

pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]

APP, HOST, GUARDED = "entered", "entered.localhost", "guarded.localhost"
REPLICAS = 4
SERVICE = ("service", "-n", "kube-system", "knarr-gateway")
HOLDER = "knarr.io/load-balancer-node"
# What the others leave a silent instance is three seconds, and the load balancer moves within one; a loaded machine adds to it.
FAILOVER_SECONDS = 15.0
ANSWER_SECONDS = 2.0
CALLERS = 4


def deployment() -> dict[str, Any]:
    container = {"name": "web", "image": IMAGE, "ports": [{"containerPort": 8080}]}
    template = {"metadata": {"labels": {"app": APP}}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}
    spec = {"replicas": REPLICAS, "selector": {"matchLabels": {"app": APP}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": APP}, "spec": spec}


def service() -> dict[str, Any]:
    spec = {"selector": {"app": APP}, "ports": [{"port": 80, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": APP}, "spec": spec}


def ingress(name: str, host: str, **annotations: str) -> dict[str, Any]:
    backend = {"service": {"name": APP, "port": {"number": 80}}}
    rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    metadata = {"name": name, "annotations": {f"nginx.ingress.kubernetes.io/{key}": value for key, value in annotations.items()}}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": {"rules": [rule]}}


def asked(place: str, host: str = HOST) -> tuple[int, str]:
    """Status and text of what answers there; 0: nobody does."""
    request = urllib.request.Request(f"http://{place}/", headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""


def address(cluster: ComposeCluster) -> str:
    """What the Ingress is told to be reached at; empty: nothing yet."""
    entries = cluster.get("ingress", APP).get("status", {}).get("loadBalancer", {}).get("ingress", [])
    return str(entries[0]["ip"]) if entries else ""


def holder(cluster: ComposeCluster) -> str:
    """The node that carries the load balancer's address."""
    return str(cluster.get(*SERVICE)["metadata"].get("annotations", {}).get(HOLDER, ""))


def published(cluster: ComposeCluster) -> str:
    """Where this machine's browsers reach the gateways."""
    return cluster.compose("port", "balancer", "8080").strip()


def endpoints(cluster: ComposeCluster) -> set[str]:
    pieces = cluster.get("endpointslices", "-n", "kube-system", "-l", "kubernetes.io/service-name=knarr-gateway")["items"]
    return {found for piece in pieces for endpoint in piece.get("endpoints") or [] for found in endpoint["addresses"]}


@pytest.fixture(scope="module")
def entered(cluster: ComposeCluster) -> Iterator[ComposeCluster]:
    """The running cluster with an app behind an Ingress, and another one that only some may pass."""
    cluster.knarr_load(IMAGE)
    made = [deployment(), service(), ingress(APP, HOST), ingress("guarded", GUARDED, **{"whitelist-source-range": f"{NETWORK}.1/32"})]
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": made})
    try:
        cluster.wait_for("the app's pods", lambda: len(cluster.ready_pods(f"app={APP}")) == REPLICAS)
        cluster.wait_for("both gateways", lambda: endpoints(cluster) == set(NODES.values()))
        cluster.wait_for("an address", lambda: address(cluster))
        yield cluster
    finally:
        cluster.kubectl("delete", "ingress/entered", "ingress/guarded", f"deployment/{APP}", f"service/{APP}", "--ignore-not-found")


def test_it_is_reached_by_name_through_each_gateway_and_by_their_address(entered: ComposeCluster) -> None:
    found = address(entered)
    assert found == entered.get(*SERVICE)["status"]["loadBalancer"]["ingress"][0]["ip"]
    for place in (*NODES.values(), found, published(entered)):
        entered.wait_for(f"an answer at {place}", lambda: asked(place)[0] == 200)  # noqa: B023
        answers = Counter(asked(place)[1] for _ in range(2 * REPLICAS))
        assert set(answers.values()) == {2}, f"pods answer in turns at {place}: {answers}"
        assert asked(place, "somebody.else")[0] == 404


def test_a_client_that_comes_by_the_load_balancer_is_seen_as_who_it_is(entered: ComposeCluster) -> None:
    assert asked(address(entered), GUARDED)[0] == 200
    assert asked(published(entered), GUARDED)[0] == 403, "what comes by the balancer's own container is nobody's else"


def test_each_says_over_grpc_who_answers_a_request_to_whom_it_knows_by_certificate(entered: ComposeCluster) -> None:
    pods = {pod["status"]["podIP"] for pod in entered.ready_pods(f"app={APP}")}
    for place in NODES.values():
        explained = grpcurl(entered, place, "Explain", host=HOST, path="/x")
        assert explained["result"] == f"goes to one of {REPLICAS} endpoints"
        assert {each["address"] for each in explained["steps"][-1]["route"]["backends"][0]["endpoints"]} == pods
        status = grpcurl(entered, place, "GetStatus")
        assert status["synced"] and status["address"] == address(entered)
    stranger = subprocess.run(
        [entered.grpcurl[0], "-insecure", "-max-time", "2", f"{NODES['node-1']}:10254", "list"],
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert stranger.returncode != 0


class Load:
    """Requests to some places, without a pause, until it is left."""

    def __init__(self, *places: str) -> None:
        self._stop = threading.Event()
        # When each was answered, and when one was not, by its place.
        self.answered: dict[str, list[float]] = {place: [] for place in places}
        self.failed: dict[str, list[float]] = {place: [] for place in places}
        self._threads = [threading.Thread(target=self._ask, args=(place,)) for place in places for _ in range(CALLERS)]

    def _ask(self, place: str) -> None:
        while not self._stop.is_set():
            status, _ = asked(place)
            (self.answered if status == 200 else self.failed)[place].append(time.monotonic())

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_one_is_killed_under_load_and_the_other_goes_on(entered: ComposeCluster) -> None:
    by_address, by_balancer = address(entered), published(entered)
    first = holder(entered)
    other = next(name for name in NODES if name != first)
    try:
        with Load(by_address, by_balancer) as load:
            entered.wait_for("load", lambda: min(map(len, load.answered.values())) > 20)
            assert not any(load.failed.values())
            entered.compose("kill", first.replace("node", "gateway"))
            since = time.monotonic()
            entered.wait_for("the other one to have it", lambda: holder(entered) == other, seconds=FAILOVER_SECONDS)
            entered.wait_for("answers again", goes_on(load, by_address, time.monotonic()), seconds=FAILOVER_SECONDS)
        assert len(load.failed[by_balancer]) <= CALLERS, "but for requests that were under way, nobody there hears of it"
        late = [when - since for when in load.failed[by_address] if when > since + FAILOVER_SECONDS]
        assert not late
        print(f"without an answer by the address for {max(load.failed[by_address], default=since) - since:.1f} s")
        assert endpoints(entered) == {NODES[other]}
    finally:
        entered.up()
    entered.wait_for("both gateways", lambda: endpoints(entered) == set(NODES.values()))
    assert holder(entered) == other, "the one that is back does not disturb"
    assert asked(by_address)[0] == 200 and asked(NODES[first])[0] == 200


def goes_on(load: Load, place: str, since: float) -> Callable[[], bool]:
    """Whether many were answered since then."""
    return lambda: sum(when > since for when in load.answered[place]) > 10 * CALLERS


def grpcurl(cluster: ComposeCluster, place: str, method: str, **request: str) -> Any:
    command = [*cluster.grpcurl, "-d", json.dumps(request), f"{place}:10254", f"knarr.api.gateway.v1.GatewayService/{method}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
