"""A StatefulSet of real containers: every pod is reached by its own name, keeps it and its data, and a broken update is taken back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.knarr_cluster import KnarrCluster
from tests.support.lookup_image import IMAGE, ensure_lookup_image

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

SPACE = "stateful"
PODS = ["db-0", "db-1", "db-2"]
# Serves its host name and notes each start in its volume; goes at once when it is told to.
SERVE = """trap 'exit 0' TERM; hostname >>/data/starts; mkdir /tmp/a; hostname >/tmp/a/index.html
httpd -p 8080 -h /tmp/a; while :; do sleep 1 & wait $!; done"""
SELECTOR = {"app": "db"}
SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "db", "namespace": SPACE},
    "spec": {"clusterIP": "None", "selector": SELECTOR, "ports": [{"port": 8080}]},
}


def stateful_set(image: str = IMAGE) -> dict[str, Any]:
    ready = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    container = {
        "name": "db",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", SERVE],
        "readinessProbe": ready,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}
    template = {"metadata": {"labels": SELECTOR}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 2}}
    spec = {
        "serviceName": "db",
        "replicas": len(PODS),
        "selector": {"matchLabels": SELECTOR},
        "template": template,
        "volumeClaimTemplates": [claim],
    }
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": SPACE}, "spec": spec}


@pytest.fixture(scope="module")
def db(cluster: KnarrCluster) -> Iterator[KnarrCluster]:
    """Three ready pods in a namespace of their own, which goes with them."""
    ensure_lookup_image()
    cluster.kubectl("create", "namespace", SPACE)
    try:
        cluster.apply(SERVICE)
        cluster.apply(stateful_set())
        cluster.kubectl("rollout", "status", "statefulset/db", "-n", SPACE, "--timeout=90s")
        yield cluster
    finally:
        cluster.kubectl("delete", "namespace", SPACE, "--timeout=60s")


def pods(db: KnarrCluster) -> dict[str, Any]:
    return {found["metadata"]["name"]: found for found in db.get("pods", "-n", SPACE)["items"]}


def answer(db: KnarrCluster, asking: str, host: str) -> str:
    """Who answers a pod that asks for a host; empty when nobody does."""
    done = db.kubectl("exec", "-n", SPACE, asking, "--", "busybox", "timeout", "5", "wget", "-qO-", f"http://{host}:8080/", check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def test_they_came_one_after_another_and_each_answers_to_its_name(db: KnarrCluster) -> None:
    found = pods(db)
    assert sorted(found) == PODS
    made = [found[name]["metadata"]["creationTimestamp"] for name in PODS]
    assert made == sorted(made)
    for name in PODS:
        db.wait_for(f"the name of {name}", partial(answer, db, "db-0", f"{name}.db"))
        assert answer(db, "db-0", f"{name}.db") == name
        assert answer(db, "db-2", f"{name}.db.{SPACE}.svc.cluster.local") == name


def starts(db: KnarrCluster, pod: str) -> list[str]:
    """The pods that have started with a pod's volume."""
    return db.kubectl("exec", "-n", SPACE, pod, "--", "cat", "/data/starts").stdout.split()


def test_one_that_is_lost_comes_back_under_its_name_with_its_data(db: KnarrCluster) -> None:
    before = pods(db)["db-1"]["metadata"]["uid"]
    db.kubectl("delete", "pod", "db-1", "-n", SPACE)
    db.kubectl("rollout", "status", "statefulset/db", "-n", SPACE, "--timeout=60s")
    assert pods(db)["db-1"]["metadata"]["uid"] != before
    db.wait_for("the name of db-1", lambda: answer(db, "db-0", "db-1.db") == "db-1")
    assert [starts(db, name) for name in PODS] == [["db-0"], ["db-1", "db-1"], ["db-2"]]


def test_a_broken_update_is_taken_back_without_deleting_a_pod(db: KnarrCluster) -> None:
    kept = {name: found["metadata"]["uid"] for name, found in pods(db).items() if name != "db-2"}
    db.kubectl("set", "image", "statefulset/db", "db=nowhere.example/none:1", "-n", SPACE)

    def is_broken() -> bool:
        found = pods(db).get("db-2", {})
        return any(status["image"].endswith("none:1") for status in found.get("status", {}).get("containerStatuses", ()))

    db.wait_for("the broken pod", is_broken)
    db.kubectl("rollout", "undo", "statefulset/db", "-n", SPACE)
    db.kubectl("rollout", "status", "statefulset/db", "-n", SPACE, "--timeout=60s")
    after = pods(db)
    assert {name: found["metadata"]["uid"] for name, found in after.items() if name != "db-2"} == kept
    assert after["db-2"]["spec"]["containers"][0]["image"] == IMAGE
    assert [line.split()[0] for line in db.kubectl("rollout", "history", "statefulset/db", "-n", SPACE).stdout.split("\n")[2:] if line] == [
        "2",
        "3",
    ]
