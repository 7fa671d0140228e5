"""Services under change: a rolling update that no client notices."""

from __future__ import annotations

import threading
import time
import urllib.request

import pytest

from tests.support.knarr_cluster import KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.docker, pytest.mark.timeout(180)]

CLIENTS = 2
PAUSE_SECONDS = 0.02
FEWEST_REQUESTS = 300

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "steady"},
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "steady"}},
        "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {
            "metadata": {"labels": {"app": "steady"}},
            "spec": {
                "terminationGracePeriodSeconds": 10,
                "containers": [
                    {
                        "name": "web",
                        "image": "hello:1",
                        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
                        # Requests that are under way end, and proxies hear of it, before the server does.
                        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "1"]}}},
                    }
                ],
            },
        },
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "steady"},
    "spec": {"selector": {"app": "steady"}, "ports": [{"port": 80, "targetPort": 8080}]},
}


class Load:
    """Clients that ask again and again, each time on a new connection."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        self.answers: list[str] = []
        self.failures: list[str] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._end.wait(PAUSE_SECONDS):
            started = time.monotonic()
            try:
                with urllib.request.urlopen(self._url, timeout=5) as answer:
                    self.answers.append(answer.read().decode().split()[-1])
            except OSError as error:
                self.failures.append(f"{error!r} after {time.monotonic() - started:.2f} s, answers before: {len(self.answers)}")


def test_a_rolling_update_under_load_loses_no_request(cluster: KnarrCluster) -> None:
    cluster.apply(DEPLOYMENT)
    cluster.apply(SERVICE)
    cluster.kubectl("rollout", "status", "deployment/steady", "--timeout=60s")
    old = {pod["metadata"]["name"] for pod in cluster.ready_pods("app=steady")}
    url = f"http://{cluster.get('service', 'steady')['spec']['clusterIP']}/"
    with Load(url) as load:
        cluster.wait_for("answers of all the old pods", lambda: set(load.answers) >= old)
        cluster.kubectl("set", "env", "deployment/steady", "COLOUR=blue")
        cluster.kubectl("rollout", "status", "deployment/steady", "--timeout=90s")
        cluster.wait_for("the old pods to be gone", lambda: len(cluster.get("pods", "-l", "app=steady")["items"]) == 3)
        new = {pod["metadata"]["name"] for pod in cluster.ready_pods("app=steady")}
        cluster.wait_for("answers of all the new pods", lambda: set(load.answers) >= new and len(load.answers) >= FEWEST_REQUESTS)
    assert load.failures == []
    assert not old & new
    assert set(load.answers) >= old | new
    cluster.kubectl("delete", "deployment/steady", "service/steady", "--wait=false")
