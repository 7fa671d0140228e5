"""A mixed control plane over one etcd: clients speak to kube-apiserver 1.20 only, the components that do the work to ours."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from knarr.machinery.catalog import RETIRED
from knarr.service.component import Component
from services.controller.component import ControllerManager
from services.controller.settings import ControllerSettings
from services.scheduler.component import Scheduler
from services.scheduler.settings import SchedulerSettings
from tests.apiserver.rest.live import SETTINGS, running_server
from tests.peer.control_planes import HollowNode, in_loop_of, kube_controller_manager, until
from tests.peer.kube_apiserver import running_kube_apiserver
from tests.peer.peers import Ask, Peer, wait_for_namespace
from tests.peer.workloads import APPS, BATCH, CORE, WORKLOADS, job_spec, workload
from tests.support.etcd import running_etcd

pytestmark = [pytest.mark.peer, pytest.mark.etcd]

OLDER = frozenset({"autoscaling/v1", "batch/v1beta1", "discovery.k8s.io/v1beta1", "policy/v1beta1", "flowcontrol.apiserver.k8s.io/v1beta1"})
# What Knarr's controller manager has no controllers for.
THEIR_CONTROLLERS = "job,cronjob"
SLICES = "/apis/discovery.k8s.io/v1beta1/namespaces/default/endpointslices"
SERVICE = {"metadata": {"name": "served"}, "spec": {"selector": {"app": "served"}, "ports": [{"port": 80}]}}


@dataclass(frozen=True, slots=True)
class Mixed:
    """``theirs`` and ``ours`` are the two API servers as a client sees them."""

    theirs: Peer
    ours: Peer


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    folder = tmp_path_factory.mktemp("mixed")
    for name in ("etcd", "theirs", "ours"):
        (folder / name).mkdir()
    settings = dataclasses.replace(SETTINGS, revived_versions=frozenset(RETIRED), storage_versions=OLDER)
    with contextlib.ExitStack() as stack:
        etcd = stack.enter_context(running_etcd(folder / "etcd"))
        kube = stack.enter_context(running_kube_apiserver(folder / "theirs", etcd.endpoint))
        theirs = stack.enter_context(contextlib.closing(Peer(kube)))
        wait_for_namespace(theirs)
        live = stack.enter_context(running_server(folder / "ours", endpoint=etcd.endpoint, settings=settings))

        def parts() -> list[Component]:
            nodes = [HollowNode.made(live, folder / "ours", number).kubelet for number in (1, 2)]
            controllers = ControllerManager(live.client, ControllerSettings(cluster_cidr=""))
            return [Scheduler(live.client, SchedulerSettings()), controllers, *nodes]

        stack.enter_context(in_loop_of(live, parts))
        stack.enter_context(kube_controller_manager(live, folder / "ours", THEIR_CONTROLLERS))
        yield Mixed(theirs, stack.enter_context(contextlib.closing(Peer(live))))


@pytest.mark.parametrize("kind", WORKLOADS)
def test_what_is_asked_of_theirs_is_carried_out_by_ours(mixed: Mixed, kind: str) -> None:
    collection, obj, holds = WORKLOADS[kind]
    name = obj["metadata"]["name"]
    assert mixed.theirs.ask(Ask("POST", collection, body=obj)).status == 201
    until(mixed.theirs, f"{collection}/{name}", holds)
    pods = f"{CORE}/pods?labelSelector=app%3D{name}"
    found = until(mixed.theirs, pods, lambda found: all(pod["status"]["phase"] == "Running" for pod in found["items"]))
    assert {pod["spec"]["nodeName"] for pod in found["items"]} <= {"hollow-1", "hollow-2"}
    assert mixed.theirs.ask(Ask("DELETE", f"{collection}/{name}", body={"propagationPolicy": "Background"})).status == 200
    until(mixed.theirs, pods, lambda found: not found["items"])


def test_endpoints_are_read_by_both(mixed: Mixed) -> None:
    assert mixed.theirs.ask(Ask("POST", f"{APPS}/deployments", body=workload("Deployment", "served", replicas=2))).status == 201
    assert mixed.theirs.ask(Ask("POST", f"{CORE}/services", body=SERVICE)).status == 201
    selected = "?labelSelector=kubernetes.io%2Fservice-name%3Dserved"
    (old,) = until(mixed.theirs, SLICES + selected, lambda found: found["items"] and len(found["items"][0]["endpoints"] or ()) == 2)[
        "items"
    ]
    (new,) = mixed.ours.ask(Ask("GET", SLICES.replace("v1beta1", "v1") + selected)).body["items"]
    assert {endpoint["topology"]["kubernetes.io/hostname"] for endpoint in old["endpoints"]} == {
        endpoint["nodeName"] for endpoint in new["endpoints"]
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/apis/batch/v1beta1/namespaces/default/cronjobs", {"spec": {"schedule": "@yearly", "jobTemplate": {"spec": job_spec("c")}}}),
        ("/apis/policy/v1beta1/namespaces/default/poddisruptionbudgets", {"spec": {"minAvailable": 1, "selector": {}}}),
        (
            "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
            {"spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}},
        ),
    ],
    ids=lambda found: found.rpartition("/")[2] if isinstance(found, str) else "",
)
def test_kinds_that_are_stored_otherwise_today_are_read_by_both(mixed: Mixed, path: str, body: dict[str, object]) -> None:
    for number, (writing, reading) in enumerate(((mixed.theirs, mixed.ours), (mixed.ours, mixed.theirs))):
        made = writing.ask(Ask("POST", path, body={**body, "metadata": {"name": f"n-{number}"}}))
        assert made.status == 201
        found = reading.ask(Ask("GET", f"{path}/n-{number}"))
        assert (found.status, found.body["spec"]) == (200, made.body["spec"])
        assert reading.ask(Ask("GET", path)).status == 200
        assert reading.ask(Ask("DELETE", f"{path}/n-{number}")).status == 200


def test_a_namespace_is_emptied_by_ours_at_their_word(mixed: Mixed) -> None:
    assert mixed.theirs.ask(Ask("POST", "/api/v1/namespaces", body={"metadata": {"name": "brief"}})).status == 201
    until(mixed.theirs, "/api/v1/namespaces/brief/serviceaccounts/default", lambda found: found["metadata"]["uid"])
    for collection in ("/api/v1/namespaces/brief/configmaps", "/api/v1/namespaces/brief/secrets"):
        assert mixed.theirs.ask(Ask("POST", collection, body={"metadata": {"name": "a"}})).status == 201
    assert mixed.theirs.ask(Ask("DELETE", "/api/v1/namespaces/brief")).status == 200
    until(mixed.theirs, "/api/v1/namespaces", lambda found: "brief" not in [item["metadata"]["name"] for item in found["items"]])


def test_the_jobs_of_a_cron_job_of_theirs_are_pods_of_ours(mixed: Mixed) -> None:
    path = "/apis/batch/v1beta1/namespaces/default/cronjobs"
    body = {"metadata": {"name": "due"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job_spec("due")}}}
    assert mixed.theirs.ask(Ask("POST", path, body=body)).status == 201
    before = (datetime.now(UTC) - timedelta(minutes=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = Ask("PATCH", f"{path}/due/status", body={"status": {"lastScheduleTime": before}}, content_type="application/merge-patch+json")
    assert mixed.theirs.ask(status).status == 200
    jobs = until(mixed.theirs, f"{BATCH}/jobs", lambda found: found["items"])["items"]
    assert jobs[0]["metadata"]["ownerReferences"][0]["name"] == "due"
    assert mixed.theirs.ask(Ask("DELETE", f"{path}/due", body={"propagationPolicy": "Background"})).status == 200
    until(mixed.theirs, f"{BATCH}/jobs", lambda found: not found["items"])
