"""The DaemonSet controller on the API server in memory."""

from __future__ import annotations

import asyncio

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import status_error
from knarr.objects.conditions import set_condition
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key
from knarr.objects.node_selection import node_named_by
from knarr.objects.owners import controller_key, controller_of
from services.controller.controllers.daemonset.controller import DaemonSetController
from services.controller.controllers.daemonset.placement import FITS, NOT_FIT, STAYS, Fit, fit, new_pod, tolerations
from services.controller.workloads.failures import FailedPods
from services.controller.workloads.history import POD_REVISION, data_of, template_of
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import daemon_set, node, pod
from tests.support.virtual_time import virtual_time

NODES = ("node-1", "node-2", "node-3")


def status(c: Cluster) -> apps.DaemonSetStatus:
    (found,) = c.api.all(apps.DaemonSet)
    return found.status


def rolled_out(c: Cluster, image: str = "app:1") -> bool:
    """As kubectl judges it; and all pods are of the image."""
    (found,) = c.api.all(apps.DaemonSet)
    told = found.status
    nodes = len(c.api.all(core.Node))
    images = [pod.spec.containers[0].image for pod in c.ready_pods()]
    return (
        told.observed_generation >= found.metadata.generation
        and told.desired_number_scheduled == told.updated_number_scheduled == told.number_available == nodes
        and images == [image] * nodes
    )


def image(name: str) -> dict[str, object]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": name}]}}}}


def revisions(c: Cluster) -> dict[int, str]:
    """The image of each revision by its number."""
    found = {revision.revision: template_of(revision) for revision in c.api.all(apps.ControllerRevision)}
    return {number: template.spec.containers[0].image for number, template in sorted(found.items()) if template is not None}


@virtual_time
async def test_each_node_has_a_pod_that_the_scheduler_may_put_there_alone() -> None:
    async with cluster() as c:
        c.api.seed(*map(node, NODES))
        await c.client.create(daemon_set())
        await c.until(lambda: rolled_out(c))
        assert sorted(found.spec.node_name for found in c.ready_pods()) == list(NODES)
        (revision,) = c.api.all(apps.ControllerRevision)
        for found in c.ready_pods():
            assert node_named_by(found.spec) == found.spec.node_name
            assert found.metadata.labels[POD_REVISION] == revision.metadata.labels[POD_REVISION]
            assert found.metadata.labels["pod-template-generation"] == "1"
            assert controller_key(found, apps.DaemonSet) == ("default", "web")
        told = status(c)
        assert (told.current_number_scheduled, told.number_ready, told.number_unavailable, told.number_misscheduled) == (3, 3, 0, 0)
        await c.until(lambda: sum(message.startswith("Created pod: web-") for message in c.events("SuccessfulCreate")) >= 1)
        await c.client.create(node("node-4"))
        await c.edit(core.Node, "node-4", lambda found: found.spec.taints.pop(), "")
        await c.until(lambda: rolled_out(c))


@pytest.mark.parametrize(("surge", "unavailable"), [(0, 1), (1, 0)], ids=["replace", "surge"])
@virtual_time
async def test_an_update_and_its_undo_keep_history(surge: int, unavailable: int) -> None:
    async with cluster() as c:
        c.api.seed(*map(node, NODES))
        await c.client.create(daemon_set(surge=surge, unavailable=unavailable, history=1))
        await c.until(lambda: rolled_out(c))
        for name in ("app:2", "app:3"):
            await c.client.patch(apps.DaemonSet, "web", "default", patch=image(name))
            await c.until(lambda name=name: rolled_out(c, name))  # type: ignore[misc]
        await c.until(lambda: revisions(c) == {2: "app:2", 3: "app:3"})
        assert status(c).updated_number_scheduled == 3
        await c.client.patch(apps.DaemonSet, "web", "default", patch=image("app:2"))
        await c.until(lambda: rolled_out(c, "app:2"))
        assert revisions(c) == {3: "app:3", 4: "app:2"}
        assert {found.metadata.labels["pod-template-generation"] for found in c.ready_pods()} == {"4"}


@virtual_time
async def test_at_most_as_many_are_unavailable_as_may_be() -> None:
    async with cluster() as c:
        c.api.seed(*map(node, NODES))
        await c.client.create(daemon_set(min_ready=5))
        await c.until(lambda: rolled_out(c))
        await c.client.patch(apps.DaemonSet, "web", "default", patch=image("app:2"))
        least = 3
        while not rolled_out(c, "app:2"):
            await asyncio.sleep(0.05)
            least = min(least, len(c.ready_pods()))
        assert least == 2


@virtual_time
async def test_it_adopts_what_matches_and_releases_what_does_not() -> None:
    async with cluster() as c:
        c.api.seed(node())
        wanted = daemon_set(strategy="OnDelete")
        c.api.seed(pod("stray", node="node-1", phase="Running", ready=True))
        await c.client.create(wanted)
        await c.until(lambda: status(c).number_available == 1)
        (stray,) = c.ready_pods()
        assert controller_key(stray, apps.DaemonSet) == ("default", "web")
        await c.edit(core.Pod, "stray", lambda found: found.metadata.labels.update(app="debug"))
        await c.until(lambda: len(c.ready_pods()) == 2)
        assert controller_of(next(found for found in c.ready_pods() if found.metadata.name == "stray")) is None


@virtual_time
async def test_pods_that_end_are_told_of_and_tried_again_ever_more_slowly() -> None:
    async with cluster(controllers=(DaemonSetController,)) as c:
        c.api.seed(node())
        c.kubelet.ending = lambda pod: "Failed"
        await c.client.create(daemon_set())
        await asyncio.sleep(130)
        made = [write for write in c.api.writes if write.verb == "create" and write.message_type is core.Pod and not write.subresource]
        # The first, and others after 0, 1, 3, 7, 15, 31, 63 and 127 seconds.
        assert len(made) == 9
        found = c.events("FailedDaemonPod")
        assert found and all("Found failed daemon pod default/web-" in message for message in found)
        assert all(message.endswith(" on node node-1, will try to kill it") for message in found)
        c.kubelet.ending = lambda pod: None
        await c.until(lambda: rolled_out(c), 200)


@virtual_time
async def test_a_refused_create_is_told_and_tried_again() -> None:
    async with cluster() as c:
        c.api.seed(*map(node, NODES))
        c.api.fail_next(status_error("Forbidden", "exceeded quota"), verb="create", message_type=core.Pod, times=3)
        await c.client.create(daemon_set())
        await c.until(lambda: rolled_out(c))
        await c.until(lambda: c.events("FailedCreate") == ["Error creating: exceeded quota"])


@virtual_time
async def test_what_a_node_tells_of_itself_all_the_time_is_no_work() -> None:
    async with cluster(controllers=(DaemonSetController,)) as c:
        c.api.seed(*map(node, NODES))
        await c.client.create(daemon_set())
        await c.until(lambda: rolled_out(c))
        await asyncio.sleep(1)
        syncs = lambda: c.manager.queues["daemonset"].status().syncs  # noqa: E731
        before = syncs()
        heard = lambda found: set_condition(found.status, "Ready", "False", reason="KubeletReady", now=c.kubelet.clock.now())  # noqa: E731
        await c.edit(core.Node, "node-1", heard, "", "status")
        await c.edit(core.Node, "node-2", lambda found: found.metadata.labels.update(zone="far"), "")
        await asyncio.sleep(1)
        assert syncs() == before
        await c.edit(core.Node, "node-2", lambda found: found.spec.taints.add(key="broken", effect="NoExecute"), "")
        await c.until(lambda: status(c).desired_number_scheduled == 2 and len(c.active_pods()) == 2)


@virtual_time
async def test_a_revision_of_another_with_the_same_name_is_a_collision() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await c.client.create(daemon_set())
        await c.until(lambda: rolled_out(c))
        (mine,) = c.api.all(apps.ControllerRevision)
        await c.client.delete(apps.DaemonSet, "web", "default", propagation_policy="Background")
        await c.until(lambda: not c.api.all(core.Pod))
        foreign = apps.ControllerRevision(revision=7, metadata=mine.metadata)
        foreign.data.raw = data_of(daemon_set(image="other:1").spec.template)
        foreign.metadata.labels["app"] = "other"
        foreign.metadata.resource_version = foreign.metadata.uid = ""
        del foreign.metadata.owner_references[:]
        await c.until(lambda: not c.api.all(apps.ControllerRevision))
        await c.client.create(foreign)
        await c.client.create(daemon_set())
        await c.until(lambda: rolled_out(c))
        assert status(c).collision_count == 1
        assert len(c.api.all(apps.ControllerRevision)) == 2


@virtual_time
async def test_pods_of_a_revision_with_the_same_template_are_not_replaced() -> None:
    """Another control plane may have written it, or two at once."""
    async with cluster() as c:
        c.api.seed(node())
        await c.client.create(daemon_set())
        await c.until(lambda: rolled_out(c))
        (mine,), (first,) = c.api.all(apps.ControllerRevision), c.ready_pods()
        twin = copy_of(mine)
        twin.metadata.name, twin.metadata.labels[POD_REVISION], twin.revision = "web-twin", "twin", 2
        twin.metadata.resource_version = twin.metadata.uid = ""
        await c.client.create(twin)
        await c.client.patch(apps.DaemonSet, "web", "default", patch={"spec": {"minReadySeconds": 1}})
        await c.until(lambda: status(c).observed_generation == 2)
        await asyncio.sleep(5)
        assert [found.metadata.uid for found in c.ready_pods()] == [first.metadata.uid]
        assert status(c).updated_number_scheduled == 1


@virtual_time
async def test_one_that_is_being_deleted_touches_nothing() -> None:
    async with cluster(controllers=(DaemonSetController,)) as c:
        c.api.seed(node())
        await c.client.create(daemon_set())
        await c.until(lambda: rolled_out(c))
        await c.client.delete(apps.DaemonSet, "web", "default", propagation_policy="Orphan")
        await c.client.delete(core.Pod, c.ready_pods()[0].metadata.name, "default")
        await asyncio.sleep(10)
        assert c.api.all(core.Pod) == []


# Where a pod belongs.


@pytest.mark.parametrize(
    ("taint", "wanted"),
    [
        ("", FITS),
        ("full:NoSchedule", STAYS),
        ("full:PreferNoSchedule", FITS),
        ("full:NoExecute", NOT_FIT),
        ("mine:NoExecute", FITS),
        ("node.kubernetes.io/not-ready:NoExecute", FITS),
        ("node.kubernetes.io/not-ready:NoSchedule", STAYS),
        ("node.kubernetes.io/unschedulable:NoSchedule", FITS),
        ("node.kubernetes.io/disk-pressure:NoSchedule", FITS),
        ("node.kubernetes.io/network-unavailable:NoSchedule", STAYS),
    ],
)
def test_a_taint(taint: str, wanted: Fit) -> None:
    target, place = daemon_set(), node()
    target.spec.template.spec.tolerations.add(key="mine", operator="Exists")
    if taint:
        key, effect = taint.rsplit(":", 1)
        place.spec.taints.add(key=key, effect=effect)
    assert fit(target, place) == wanted


def test_a_pod_in_its_nodes_network_is_there_before_any_other_network() -> None:
    target, place = daemon_set(), node()
    target.spec.template.spec.host_network = True
    place.spec.taints.add(key="node.kubernetes.io/network-unavailable", effect="NoSchedule")
    assert fit(target, place) == FITS


def test_a_node_name_a_selector_and_an_affinity_leave_nodes() -> None:
    here, there = node("here"), node("there")
    there.metadata.labels["zone"] = "far"
    named, selecting, affine = daemon_set(), daemon_set(), daemon_set()
    named.spec.template.spec.node_name = "there"
    selecting.spec.template.spec.node_selector["zone"] = "far"
    required = affine.spec.template.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution
    required.node_selector_terms.add().match_expressions.add(key="zone", operator="Exists")
    for target in (named, selecting, affine):
        assert (fit(target, here), fit(target, there)) == (NOT_FIT, FITS)
    # What the pod says instead leaves the one node.
    assert node_named_by(new_pod(affine, "there", "hash").spec) == "there"


def test_a_toleration_that_lapses_does_not_lapse_here() -> None:
    spec = core.PodSpec()
    spec.tolerations.add(key="node.kubernetes.io/not-ready", operator="Exists", effect="NoExecute", toleration_seconds=5)
    found = tolerations(spec)
    assert len(found) == 6
    assert not any(toleration.HasField("toleration_seconds") for toleration in found)
    assert spec.tolerations[0].toleration_seconds == 5


def test_failures_are_forgotten_with_the_generation_and_in_time() -> None:
    failed, key = FailedPods(), Key("default", "web")
    for _ in range(3):
        failed.note(key, 1, "node-1", 100)
    assert (failed.held(key, 1, "node-1", 101), failed.held(key, 1, "node-2", 101), failed.held(key, 2, "node-1", 101)) == (3, 0, 0)
    failed.note(key, 1, "node-2", 2000)
    failed.note(key, 1, "node-1", 2000)
    assert failed.held(key, 1, "node-1", 2000) == 1
    failed.forget(key)
    assert failed.held(key, 1, "node-1", 2000) == 0
