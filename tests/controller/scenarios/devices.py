"""Claims to devices."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.objects.devices import FINALIZER, reserve
from tests.controller.objects import NAMESPACE, pod
from tests.controller.scenarios.steps import step
from tests.support.mishaps import World


def device_claim(name: str = "") -> resource.ResourceClaim:
    made = resource.ResourceClaim()
    made.metadata.name, made.metadata.namespace = name, NAMESPACE
    made.spec.devices.requests.add(name="card").exactly.device_class_name = "cards"
    return made


def device_slice(device: str = "card-0", generation: int = 1) -> resource.ResourceSlice:
    """The card of a node."""
    made = resource.ResourceSlice()
    made.metadata.name = f"node-1-cards-{generation}"
    spec = made.spec
    spec.driver, spec.node_name, spec.pool.name = "cards.example.com", "node-1", "node-1"
    spec.pool.generation, spec.pool.resource_slice_count = generation, 1
    spec.devices.add(name=device)
    return made


def device_rule(name: str = "broken", *, selects: bool = True, **selected: str) -> resource.DeviceTaintRule:
    """One that taints the devices that are ``selected``."""
    made = resource.DeviceTaintRule()
    made.metadata.name = name
    made.spec.taint.key, made.spec.taint.effect = "broken", "NoExecute"
    if selects:
        made.spec.device_selector.SetInParent()
        for field, value in selected.items():
            setattr(made.spec.device_selector, field, value)
    return made


def template(name: str = "one-card") -> resource.ResourceClaimTemplate:
    made = resource.ResourceClaimTemplate()
    made.metadata.name, made.metadata.namespace = name, NAMESPACE
    made.spec.metadata.labels["for"] = "cards"
    made.spec.spec.CopyFrom(device_claim().spec)
    return made


def asking(name: str, *claims: str, of_template: str = "") -> core.Pod:
    """A pod that uses claims by name, and one that is made for it."""
    made = pod(name)
    for claim in claims:
        made.spec.resource_claims.add(name=claim, resource_claim_name=claim)
    if of_template:
        made.spec.resource_claims.add(name="own", resource_claim_template_name=of_template)
    return made


def give(claim: resource.ResourceClaim, *pods: core.Pod, device: str = "card-0") -> None:
    """As the scheduler does."""
    if FINALIZER not in claim.metadata.finalizers:
        claim.metadata.finalizers.append(FINALIZER)
    claim.status.allocation.devices.results.add(request="card", driver="cards.example.com", pool="node-1", device=device)
    for one in pods:
        reserve(claim, one)


async def given(w: World, name: str, *pods: core.Pod, device: str = "card-0") -> None:
    await w.edit(resource.ResourceClaim, name, lambda found: give(found, *pods, device=device))
    await w.edit(resource.ResourceClaim, name, lambda found: give(found, *pods, device=device), subresource="status")


async def device_claims(w: World) -> None:
    """Of two pods with claims of their own one ends, and the other one's claim is deleted and made again. A claim that two share is free
    when the second one has gone; one that is deleted goes then, too."""
    for name in ("shared", "leaving"):
        w.api.seed(device_claim(name))
    w.api.seed(template())
    for made in (asking("stays", "shared", of_template="one-card"), asking("ends", "shared", "leaving", of_template="one-card")):
        w.api.seed(made)
    await step()
    pods = {found.metadata.name: found for found in w.api.all(core.Pod)}
    own = {name: found.status.resource_claim_statuses[0].resource_claim_name for name, found in pods.items()}
    await given(w, "shared", *pods.values())
    await given(w, "leaving", pods["ends"])
    await given(w, own["ends"], pods["ends"])
    await step()
    await w.client.delete(resource.ResourceClaim, "leaving", NAMESPACE)
    await w.client.delete(resource.ResourceClaim, own["stays"], NAMESPACE)
    await w.edit(core.Pod, "ends", lambda found: setattr(found.status, "phase", "Succeeded"), subresource="status")
    await step()
    await w.client.delete(core.Pod, "stays", NAMESPACE, grace_period_seconds=0)
    await step()


async def broken_devices(w: World) -> None:
    """A device breaks, and its pod goes; that of another one stays."""
    w.api.seed(device_slice())
    for name in ("first", "second"):
        made = asking(name, name)
        made.spec.node_name = "node-1"
        w.api.seed(device_claim(name), made)
    await step()
    pods = {found.metadata.name: found for found in w.api.all(core.Pod)}
    for name, device in (("first", "card-0"), ("second", "card-1")):
        await given(w, name, pods[name], device=device)
    await w.client.create(device_rule(device="card-0"))
    await step()


def pods_of_broken_devices_go(w: World) -> None:
    going = {found.metadata.name: found.metadata.HasField("deletion_timestamp") for found in w.api.all(core.Pod)}
    assert going == {"first": True, "second": False}


def devices_are_free(w: World) -> None:
    found = {claim.metadata.name: claim for claim in w.api.all(resource.ResourceClaim)}
    assert not any(claim.status.HasField("allocation") or claim.status.reserved_for for claim in found.values())
    assert "shared" in found and "leaving" not in found
