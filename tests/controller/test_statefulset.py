"""StatefulSets on the API server in memory: what is written, told and reported."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.informer import Informers
from knarr.machinery.errors import status_error
from knarr.objects.conditions import set_condition
from knarr.objects.owners import controller_key, controller_of, owner_reference
from knarr.objects.pods import is_ready
from services.controller.component import ControllerManager
from services.controller.controllers.statefulset.controller import StatefulSetController
from services.controller.controllers.statefulset.retention import retention
from services.controller.settings import ControllerSettings
from services.controller.workloads.history import POD_REVISION, template_of
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import claim, node, owned, pod
from tests.controller.stateful import stateful_set
from tests.support.rights import CONTROLLER
from tests.support.virtual_time import virtual_time


def the_set(c: Cluster, name: str = "web") -> apps.StatefulSet:
    return next(found for found in c.api.all(apps.StatefulSet) if found.metadata.name == name)


def pods_of(c: Cluster) -> dict[str, core.Pod]:
    return {found.metadata.name: found for found in c.api.all(core.Pod)}


def is_settled(c: Cluster, replicas: int = 3) -> bool:
    status = the_set(c).status
    return (
        status.ready_replicas == status.updated_replicas == status.replicas == replicas
        and status.current_revision == status.update_revision
    )


def runs(c: Cluster, image: str) -> bool:
    """Whether all pods, and there are some, have that image and the set knows."""
    images = {found.spec.containers[0].image for found in pods_of(c).values()}
    return images == {image} and is_settled(c, len(pods_of(c)))


async def settled(c: Cluster, target: apps.StatefulSet) -> None:
    """Makes it, and waits until its pods are there."""
    await c.client.create(target)
    await c.until(lambda: is_settled(c, target.spec.replicas))


async def to_image(c: Cluster, image: str) -> None:
    await c.edit(apps.StatefulSet, "web", lambda found: setattr(found.spec.template.spec.containers[0], "image", image))


async def scale(c: Cluster, replicas: int) -> None:
    await c.edit(apps.StatefulSet, "web", lambda found: setattr(found.spec, "replicas", replicas))


@virtual_time
async def test_pods_have_a_place_a_name_and_a_host_name() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await settled(c, stateful_set("web", 2, image="app:1"))
        status = the_set(c).status
        for ordinal in range(2):
            found = pods_of(c)[f"web-{ordinal}"]
            assert (found.spec.hostname, found.spec.subdomain) == (f"web-{ordinal}", "web")
            assert dict(found.metadata.labels) == {
                "app": "web",
                "statefulset.kubernetes.io/pod-name": f"web-{ordinal}",
                "apps.kubernetes.io/pod-index": str(ordinal),
                POD_REVISION: status.update_revision,
            }
            assert controller_key(found, apps.StatefulSet) == ("default", "web")
        assert (status.replicas, status.available_replicas, status.current_replicas, status.observed_generation) == (2, 2, 2, 1)
        assert status.HasField("collision_count") and status.collision_count == 0
        told = [f"create Pod web-{ordinal} in StatefulSet web successful" for ordinal in range(2)]
        await c.until(lambda: sorted(c.events("SuccessfulCreate")) == told)


@virtual_time
async def test_one_whose_name_is_as_long_as_pods_names_may_be_has_pods() -> None:
    name = "web-" + "n" * 57
    async with cluster() as c:
        c.api.seed(node())
        await c.client.create(stateful_set(name, 1, image="app:1"))
        await c.until(lambda: [found.metadata.name for found in c.ready_pods()] == [f"{name}-0"])
        # By another template, so that it has another revision, whose name begins alike.
        await c.edit(apps.StatefulSet, name, lambda found: setattr(found.spec.template.spec.containers[0], "image", "app:2"))
        await c.until(lambda: [found.spec.containers[0].image for found in c.ready_pods()] == ["app:2"])


@virtual_time
async def test_its_scale_says_how_its_pods_are_chosen() -> None:
    """As a HorizontalPodAutoscaler and a disruption budget ask for it."""
    async with cluster() as c:
        c.api.seed(node())
        await settled(c, stateful_set("web", 2, image="app:1"))
        found = await c.client.scale(apps.StatefulSet, "web", "default")
        assert (found.spec.replicas, found.status.replicas, found.status.selector) == (2, 2, "app=web")
        await scale(c, 1)
        await c.until(lambda: is_settled(c, 1))
        await c.until(lambda: c.events("SuccessfulDelete") == ["delete Pod web-1 in StatefulSet web successful"])


@virtual_time
async def test_a_rollback_is_the_revision_of_before_with_a_new_number() -> None:
    async with cluster() as c:
        c.api.seed(node())
        c.kubelet.ready_seconds = lambda found: None if found.spec.containers[0].image == "broken" else 0.1
        await settled(c, stateful_set("web", 2, image="app:1"))
        first = the_set(c).status.current_revision
        await to_image(c, "broken")
        await c.until(lambda: "web-1" in pods_of(c) and pods_of(c)["web-1"].metadata.labels[POD_REVISION] != first)
        status = the_set(c).status
        assert status.current_revision == first != status.update_revision
        await to_image(c, "app:1")
        await c.until(lambda: is_settled(c, 2))
        assert the_set(c).status.current_revision == first
        numbers = {found.metadata.name: found.revision for found in c.api.all(apps.ControllerRevision)}
        assert len(numbers) == 2 and numbers[first] == 3
        assert {found.spec.containers[0].image for found in pods_of(c).values()} == {"app:1"}


@virtual_time
async def test_in_order_each_pod_is_one_look_at_all_of_them_and_waits_for_nothing_else() -> None:
    async with cluster() as c:
        c.api.seed(node())
        c.kubelet.ready_seconds = lambda pod: 0.05
        started = asyncio.get_running_loop().time()
        await settled(c, stateful_set("web", 20, image="app:1"))
        assert asyncio.get_running_loop().time() - started < 20 * 0.06 + 0.5
        await asyncio.sleep(1.0)
        looks = c.manager.queues["statefulset"].status().syncs
        told = [write for write in c.api.writes if write.message_type is apps.StatefulSet and write.subresource == "status"]
        assert looks <= 30 and len(told) <= 30, (looks, len(told))


@virtual_time
async def test_a_lost_pod_is_made_again_with_its_name() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await settled(c, stateful_set("web", 3, image="app:1"))
        before = pods_of(c)["web-1"].metadata.uid
        await c.client.delete(core.Pod, "web-1", "default")
        await c.until(lambda: is_settled(c) and pods_of(c)["web-1"].metadata.uid != before)
        evicted = pods_of(c)["web-0"]
        await c.edit(core.Pod, "web-0", lambda found: setattr(found.status, "phase", "Failed"), subresource="status")
        await c.until(lambda: is_settled(c) and pods_of(c)["web-0"].metadata.uid != evicted.metadata.uid)


@virtual_time
async def test_there_are_never_two_of_a_place_however_slow_the_cache_is() -> None:
    async with cluster() as c:
        c.api.seed(node())
        c.api.latency_seconds = 0.3
        target = stateful_set("web", 8, image="app:1")
        target.spec.pod_management_policy = "Parallel"
        await c.client.create(target)
        await c.until(lambda: is_settled(c, 8))
        await to_image(c, "app:2")
        await c.until(lambda: the_set(c).status.update_revision != the_set(c).status.current_revision)
        least = 8
        while not is_settled(c, 8):
            least = min(
                least, sum(1 for found in pods_of(c).values() if is_ready(found) and not found.metadata.HasField("deletion_timestamp"))
            )
            await asyncio.sleep(0.05)
        assert least == 7
        made = [write for write in c.api.writes if write.verb == "create" and write.message_type is core.Pod and not write.subresource]
        assert len(made) == 16


@virtual_time
async def test_two_that_both_lead_for_a_moment_make_and_delete_nothing_twice() -> None:
    """The second one hears everything a little later: it takes each step of the first for one that is still to be made."""
    async with cluster(controllers=(StatefulSetController,)) as c:
        c.api.seed(node())
        late = c.api.client(CONTROLLER)
        other = ControllerManager(late, ControllerSettings(), clock=c.kubelet.clock, controllers=(StatefulSetController,))
        c.api.latency_seconds = 0.1
        informers, seen = Informers(c.api.client()), set[tuple[str, str]]()
        informers.get(core.Pod).on_change(lambda old, new: seen.add((new.metadata.name, new.metadata.uid)) if new is not None else None)
        tasks = [asyncio.create_task(other.run()), asyncio.create_task(informers.run())]
        try:
            await settled(c, stateful_set("web", 3, image="app:1"))
            await to_image(c, "app:2")
            await c.until(lambda: runs(c, "app:2"))
            await asyncio.sleep(10)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        assert runs(c, "app:2") and sorted(found.revision for found in c.api.all(apps.ControllerRevision)) == [1, 2]
        assert sorted(name for name, _ in seen) == ["web-0", "web-0", "web-1", "web-1", "web-2", "web-2"]


@virtual_time
async def test_it_adopts_its_own_and_releases_what_matches_no_longer() -> None:
    """An orphan that is called as one of its pods is one, another is not; a pod that is released holds its name until it goes."""
    async with cluster() as c:
        c.api.seed(node(), *(pod(name, node="node-1", phase="Running", ready=True) for name in ("web-0", "web-x", "web-01", "other-0")))
        await c.client.create(stateful_set("web", 2, image="app:1"))
        await c.until(lambda: is_settled(c, 2), 120)
        found = pods_of(c)
        assert {name for name, each in found.items() if controller_of(each)} == {"web-0", "web-1"}
        assert found["web-0"].spec.containers[0].image == "app:1" and POD_REVISION in found["web-0"].metadata.labels
        await c.edit(core.Pod, "web-1", lambda each: each.metadata.labels.update(app="debug"))
        await c.until(lambda: controller_of(pods_of(c)["web-1"]) is None)
        await asyncio.sleep(30)
        assert the_set(c).status.replicas == 1
        await c.until(lambda: 'create Pod web-1 in StatefulSet web failed error: pods "web-1" already exists' in c.events("FailedCreate"))
        await c.client.delete(core.Pod, "web-1", "default")
        await c.until(lambda: is_settled(c, 2), 2)


@virtual_time
async def test_revisions_that_lost_their_owner_are_adopted() -> None:
    """As when a StatefulSet is deleted without its pods and made again: no pod is replaced."""
    async with cluster() as c:
        c.api.seed(node())
        await settled(c, stateful_set("web", 2, image="app:1"))
        before = {name: found.metadata.uid for name, found in pods_of(c).items()}
        await c.client.delete(apps.StatefulSet, "web", "default", propagation_policy="Orphan")
        await c.until(lambda: not c.api.all(apps.StatefulSet))
        await settled(c, stateful_set("web", 2, image="app:1"))
        assert {name: found.metadata.uid for name, found in pods_of(c).items()} == before
        assert [template_of(found) for found in c.api.all(apps.ControllerRevision)] == [the_set(c).spec.template]


@virtual_time
async def test_one_that_is_being_deleted_makes_no_pods() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await settled(c, stateful_set("web", 2, image="app:1"))
        await c.edit(apps.StatefulSet, "web", lambda found: found.metadata.finalizers.append("example.com/hold"))
        await c.client.delete(apps.StatefulSet, "web", "default", propagation_policy="Foreground")
        await c.until(lambda: not pods_of(c))
        await asyncio.sleep(10)
        assert not pods_of(c) and not c.api.all(apps.ControllerRevision)
        assert the_set(c).status.replicas == 0
        await c.edit(apps.StatefulSet, "web", lambda found: found.metadata.finalizers.remove("example.com/hold"))
        await c.until(lambda: not c.api.all(apps.StatefulSet))


@virtual_time
async def test_a_refused_pod_is_told_and_tried_again() -> None:
    async with cluster() as c:
        c.api.seed(node())
        c.api.fail_next(status_error("Forbidden", "exceeded quota"), verb="create", message_type=core.Pod, times=4)
        await settled(c, stateful_set("web", 1, image="app:1"))
        await c.until(lambda: c.events("FailedCreate") == ["create Pod web-0 in StatefulSet web failed error: exceeded quota"])


@virtual_time
async def test_a_pod_that_its_node_refuses_is_tried_again_ever_more_slowly() -> None:
    async with cluster(controllers=(StatefulSetController,)) as c:
        c.api.seed(node())
        c.kubelet.ending = lambda found: "Failed"
        await c.client.create(stateful_set("web", 1, image="app:1"))
        await asyncio.sleep(60)
        made = [write for write in c.api.writes if write.verb == "create" and write.message_type is core.Pod and not write.subresource]
        # After 0, 1, 3, 7, 15 and 31 seconds, and a little each.
        assert len(made) in (6, 7)
        c.kubelet.ending = lambda found: None
        await c.until(lambda: is_settled(c, 1))


@virtual_time
async def test_a_missing_label_is_put_back() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await settled(c, stateful_set("web", 1, image="app:1"))
        label = "statefulset.kubernetes.io/pod-name"
        await c.edit(core.Pod, "web-0", lambda found: found.metadata.labels.pop(label))
        await c.until(lambda: pods_of(c)["web-0"].metadata.labels.get(label) == "web-0")
        await c.until(lambda: c.events("SuccessfulUpdate") == ["update Pod web-0 in StatefulSet web successful"])


@virtual_time
async def test_history_is_kept_as_long_as_it_is_wanted() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await c.client.create(stateful_set("web", 1, image="app:0", history=2))
        for number in range(1, 5):
            await to_image(c, f"app:{number}")
            await c.until(partial(runs, c, f"app:{number}"))
        await c.until(lambda: sorted(found.revision for found in c.api.all(apps.ControllerRevision)) == [3, 4, 5])


@virtual_time
async def test_a_pod_that_stops_being_ready_holds_up_those_that_come() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await settled(c, stateful_set("web", 1, image="app:1"))
        await c.edit(
            core.Pod, "web-0", lambda found: set_condition(found.status, "Ready", "False", now=c.kubelet.clock.now()), subresource="status"
        )
        await scale(c, 3)
        await asyncio.sleep(30)
        assert list(pods_of(c)) == ["web-0"]
        await c.edit(
            core.Pod, "web-0", lambda found: set_condition(found.status, "Ready", "True", now=c.kubelet.clock.now()), subresource="status"
        )
        await c.until(lambda: is_settled(c))


# Claims.


def claims_of(c: Cluster) -> dict[str, core.PersistentVolumeClaim]:
    return {found.metadata.name: found for found in c.api.all(core.PersistentVolumeClaim)}


def with_claims(replicas: int, *, deleted: str = "Retain", scaled: str = "Retain") -> apps.StatefulSet:
    made = stateful_set("web", replicas, image="app:1", claims=("data",))
    policy = made.spec.persistent_volume_claim_retention_policy
    policy.when_deleted, policy.when_scaled = deleted, scaled
    return made


@virtual_time
async def test_each_pod_has_claims_of_its_own_that_outlive_it() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await settled(c, with_claims(2))
        found = claims_of(c)
        assert sorted(found) == ["data-web-0", "data-web-1"]
        assert all(dict(each.metadata.labels) == {"app": "web"} and not each.metadata.owner_references for each in found.values())
        volume = pods_of(c)["web-1"].spec.volumes[0]
        assert (volume.name, volume.volume_source.persistent_volume_claim.claim_name) == ("data", "data-web-1")
        told = [f"create Claim data-web-{ordinal} Pod web-{ordinal} in StatefulSet web success" for ordinal in range(2)]
        await c.until(lambda: set(told) <= set(c.events("SuccessfulCreate")))
        await scale(c, 0)
        await c.until(lambda: not pods_of(c))
        await c.client.delete(apps.StatefulSet, "web", "default", propagation_policy="Foreground")
        await c.until(lambda: not c.api.all(apps.StatefulSet))
        await asyncio.sleep(5)
        assert {name: each.metadata.uid for name, each in claims_of(c).items()} == {name: each.metadata.uid for name, each in found.items()}
        await settled(c, with_claims(2))
        assert claims_of(c)["data-web-0"].metadata.uid == found["data-web-0"].metadata.uid


@virtual_time
async def test_claims_go_with_pods_that_are_too_many_and_with_their_set() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await settled(c, with_claims(2, deleted="Delete", scaled="Delete"))
        before = claims_of(c)
        assert all(controller_key(each, apps.StatefulSet) == ("default", "web") for each in before.values())
        await c.client.delete(core.Pod, "web-1", "default")
        await c.until(lambda: is_settled(c, 2) and pods_of(c)["web-1"].metadata.resource_version != "")
        assert claims_of(c)["data-web-1"].metadata.uid == before["data-web-1"].metadata.uid
        await scale(c, 1)
        await c.until(lambda: list(claims_of(c)) == ["data-web-0"])
        await scale(c, 2)
        await c.until(lambda: is_settled(c, 2))
        assert claims_of(c)["data-web-1"].metadata.uid != before["data-web-1"].metadata.uid
        await c.client.delete(apps.StatefulSet, "web", "default", propagation_policy="Background")
        await c.until(lambda: not pods_of(c) and not claims_of(c))


@virtual_time
async def test_a_claim_that_a_waiting_pod_lacks_is_made_again() -> None:
    async with cluster() as c:
        c.api.seed(node())
        c.kubelet.schedules = False
        await c.client.create(with_claims(1))
        await c.until(lambda: "web-0" in pods_of(c) and "data-web-0" in claims_of(c))
        before = claims_of(c)["data-web-0"].metadata.uid
        await c.client.delete(core.PersistentVolumeClaim, "data-web-0", "default")
        await c.edit(core.PersistentVolumeClaim, "data-web-0", lambda found: found.metadata.ClearField("finalizers"))
        await c.until(lambda: "data-web-0" in claims_of(c) and claims_of(c)["data-web-0"].metadata.uid != before)


@virtual_time
async def test_a_refused_claim_is_told_and_its_pod_waits() -> None:
    async with cluster() as c:
        c.api.seed(node())
        c.api.fail_next(status_error("Forbidden", "exceeded quota"), verb="create", message_type=core.PersistentVolumeClaim, times=3)
        await settled(c, with_claims(1))
        message = "create Claim data-web-0 for Pod web-0 in StatefulSet web failed error: exceeded quota"
        await c.until(lambda: c.events("FailedCreate") == [message])


@pytest.mark.parametrize(
    ("deleted", "scaled", "condemned", "before", "after"),
    [
        ("Retain", "Retain", False, "", None),
        ("Retain", "Retain", False, "set pod other", "other"),
        ("Delete", "Retain", False, "", "set"),
        ("Delete", "Retain", True, "set", None),
        ("Retain", "Delete", False, "set", ""),
        ("Retain", "Delete", True, "", "pod"),
        ("Delete", "Delete", False, "pod", "set"),
        ("Delete", "Delete", True, "set", "pod"),
        ("Delete", "Delete", True, "pod", None),
        ("Delete", "Delete", False, "other", "other set"),
    ],
)
def test_a_claim_is_owned_by_what_it_goes_with(deleted: str, scaled: str, condemned: bool, before: str, after: str | None) -> None:
    target, mounting = stateful_set(), pod("web-0")
    target.metadata.uid = "u-set"
    policy = target.spec.persistent_volume_claim_retention_policy
    policy.when_deleted, policy.when_scaled = deleted, scaled
    named = {"set": target, "pod": mounting}
    stored = claim("data-web-0")
    for name in before.split():
        stored.metadata.owner_references.append(
            owner_reference(named[name]) if name in named else owner_reference(pod("friend"), controller=False)
        )
    decided = retention(target, stored, mounting, condemned=condemned)
    assert not decided.conflicts
    if after is None:
        assert decided.claim is None
    else:
        assert decided.claim is not None
        words = {"StatefulSet": "set", "Pod": "pod"}
        found = [words[ref.kind] if ref.name != "friend" else "other" for ref in decided.claim.metadata.owner_references]
        assert found == after.split()
        assert all(ref.controller for ref in decided.claim.metadata.owner_references if ref.name != "friend")


def test_a_claim_of_one_that_is_gone_or_of_another_controller_is_left_alone() -> None:
    target, mounting = stateful_set(), pod("web-0")
    target.metadata.uid = "u-set"
    target.spec.persistent_volume_claim_retention_policy.when_deleted = "Delete"
    gone = pod("web-0")
    gone.metadata.uid = "uid-of-before"
    assert retention(target, owned(claim(), gone), mounting, condemned=False).claim is None
    foreign = owned(claim(), pod("boss"))
    decided = retention(target, foreign, mounting, condemned=False)
    assert decided.conflicts and decided.claim is None
    decided = retention(target, owned(owned(claim(), pod("boss")), target, controller=False), mounting, condemned=False)
    assert decided.conflicts and decided.claim is not None
    assert [ref.name for ref in decided.claim.metadata.owner_references] == ["boss"]
