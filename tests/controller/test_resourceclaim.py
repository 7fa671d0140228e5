"""Claims to devices: made once for a pod, kept for whom uses them, and free again after the last one."""

from __future__ import annotations

import asyncio

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.machinery.errors import status_error
from knarr.objects.devices import FINALIZER, MOST_CONSUMERS, POD_CLAIM
from knarr.objects.owners import is_controlled_by, owner_reference
from services.controller.controllers.resourceclaim.controller import IDLE_SECONDS, ResourceClaimController
from services.controller.controllers.resourceclaim.decide import claim_of, to_make, to_reserve
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import NAMESPACE, pod
from tests.controller.scenarios.devices import asking, device_claim, give, template
from tests.support.virtual_time import virtual_time

ALONE = (ResourceClaimController,)


def claims(c: Cluster) -> list[resource.ResourceClaim]:
    return c.api.all(resource.ResourceClaim)


def the_pod(c: Cluster) -> core.Pod:
    (found,) = c.api.all(core.Pod)
    return found


def stored(name: str, *claims: str, of_template: str = "", node: str = "") -> core.Pod:
    made = asking(name, *claims, of_template=of_template)
    made.metadata.uid, made.spec.node_name = f"uid-{name}", node
    return made


def test_a_claim_is_that_of_its_template() -> None:
    made = stored("db", of_template="one-card")
    (entry,) = to_make(made, {})
    claim = claim_of(made, entry, template())
    assert (claim.metadata.generate_name, claim.metadata.namespace) == ("db-own-", NAMESPACE)
    assert dict(claim.metadata.labels) == {"for": "cards"} and claim.metadata.annotations[POD_CLAIM] == "own"
    assert claim.spec == template().spec.spec and is_controlled_by(claim, made)


@pytest.mark.parametrize(("pod_letters", "entry_letters"), [(60, 3), (40, 40), (200, 63), (1, 62)])
def test_of_long_names_there_is_some_of_both(pod_letters: int, entry_letters: int) -> None:
    made = pod("p" * pod_letters)
    made.spec.resource_claims.add(name="e" * entry_letters, resource_claim_template_name="one-card")
    name = claim_of(made, made.spec.resource_claims[0], template()).metadata.generate_name
    assert len(name) <= 58 and "p" in name and "e" in name


def test_nothing_is_made_for_a_pod_that_is_done() -> None:
    made = stored("db", of_template="one-card")
    made.status.phase = "Failed"
    assert not list(to_make(made, {}))
    made.status.phase = "Running"
    made.metadata.deletion_timestamp.seconds = 1
    assert not list(to_make(made, {}))


def test_what_is_kept_for_a_pod_that_has_a_node() -> None:
    claim = device_claim("shared")
    assert not list(to_reserve(stored("db", "shared", node="n1"), {"shared": claim}))
    give(claim)
    assert list(to_reserve(stored("db", "shared", node="n1"), {"shared": claim})) == [claim]
    assert not list(to_reserve(stored("db", "shared"), {"shared": claim}))
    for number in range(MOST_CONSUMERS):
        claim.status.reserved_for.add(resource="pods", name=f"p{number}", uid=f"uid-{number}")
    assert not list(to_reserve(stored("db", "shared", node="n1"), {"shared": claim}))


@virtual_time
async def test_it_is_made_noted_and_made_again() -> None:
    async with cluster(kubelet=False, controllers=ALONE) as c:
        c.api.seed(template(), asking("db", of_template="one-card"))
        await c.until(lambda: bool(the_pod(c).status.resource_claim_statuses))
        (first,) = claims(c)
        assert the_pod(c).status.resource_claim_statuses[0].resource_claim_name == first.metadata.name
        await c.client.delete(resource.ResourceClaim, first.metadata.name, NAMESPACE)
        await c.until(lambda: [claim.metadata.uid for claim in claims(c)] not in ([], [first.metadata.uid]))
        await asyncio.sleep(5)
        (second,) = claims(c)
        assert the_pod(c).status.resource_claim_statuses[0].resource_claim_name == second.metadata.name


@virtual_time
async def test_a_template_that_comes_later_is_told_of_and_waited_for() -> None:
    async with cluster(kubelet=False, controllers=ALONE) as c:
        c.api.seed(asking("db", of_template="one-card"))
        missing = 'resource claim template "one-card": resourceclaimtemplate.resource.k8s.io "one-card" not found'
        await c.until(lambda: f"PodResourceClaim own: {missing}" in c.events("FailedResourceClaimCreation"))
        assert not claims(c)
        await c.client.create(template())
        await c.until(lambda: len(claims(c)) == 1, 1)


@virtual_time
async def test_a_claim_whose_name_could_not_be_noted_is_not_made_twice() -> None:
    async with cluster(kubelet=False, controllers=ALONE) as c:
        for _ in range(3):
            c.api.fail_next(status_error("InternalError", "no"), verb="update", message_type=core.Pod)
        c.api.seed(template(), asking("db", of_template="one-card"))
        await c.until(lambda: bool(the_pod(c).status.resource_claim_statuses))
        assert len(claims(c)) == 1


@virtual_time
async def test_devices_are_free_after_the_last_pod() -> None:
    async with cluster(kubelet=False, controllers=ALONE) as c:
        c.api.seed(asking("a", "shared"), asking("b", "shared"))
        pods = c.api.all(core.Pod)
        shared = device_claim("shared")
        give(shared, *pods)
        c.api.seed(shared)
        await c.client.delete(core.Pod, "a", NAMESPACE, grace_period_seconds=0)
        await c.until(lambda: [user.name for user in claims(c)[0].status.reserved_for] == ["b"])
        assert claims(c)[0].status.HasField("allocation") and FINALIZER in claims(c)[0].metadata.finalizers
        await c.client.delete(core.Pod, "b", NAMESPACE, grace_period_seconds=0)
        await c.until(lambda: not claims(c)[0].status.HasField("allocation") and not claims(c)[0].metadata.finalizers)


@virtual_time
async def test_what_was_made_for_the_extended_resources_of_a_pod_goes_when_that_ends() -> None:
    async with cluster(kubelet=False, controllers=ALONE) as c:
        made = asking("db")
        made.status.extended_resource_claim_status.resource_claim_name = "db-extended"
        c.api.seed(made)
        claim = device_claim("db-extended")
        claim.metadata.owner_references.append(owner_reference(the_pod(c)))
        give(claim, the_pod(c))
        c.api.seed(claim)
        await asyncio.sleep(1)
        assert claims(c)[0].status.HasField("allocation")
        ended = the_pod(c)
        ended.status.phase = "Succeeded"
        await c.client.update(ended, subresource="status")
        await c.until(lambda: not claims(c))


@virtual_time
async def test_what_is_no_pod_keeps_a_claim() -> None:
    async with cluster(kubelet=False, controllers=ALONE) as c:
        shared = device_claim("shared")
        give(shared)
        shared.status.reserved_for.add(api_group="example.com", resource="jobs", name="a", uid="1")
        shared.status.reserved_for.add(resource="pods", name="gone", uid="2")
        c.api.seed(shared)
        await c.until(lambda: [user.name for user in claims(c)[0].status.reserved_for] == ["a"])
        assert claims(c)[0].status.HasField("allocation")


@virtual_time
async def test_a_claim_that_got_no_devices_is_let_go_after_a_while() -> None:
    async with cluster(kubelet=False, controllers=ALONE) as c:
        idle = device_claim("idle")
        idle.metadata.finalizers.append(FINALIZER)
        c.api.seed(idle)
        await asyncio.sleep(IDLE_SECONDS - 1)
        assert FINALIZER in claims(c)[0].metadata.finalizers
        await c.until(lambda: not claims(c)[0].metadata.finalizers, 3)
