"""Claims to devices: how pods name them, for whom they are kept, what keeps them from going, and which taints a request tolerates; and
extended resources that classes of devices stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.objects.amounts import is_extended
from knarr.objects.keys import is_deleting
from knarr.objects.owners import is_controlled_by
from knarr.objects.pods import is_finished
from knarr.objects.tolerations import NO_EXECUTE, NO_SCHEDULE

# What keeps a claim that has devices from going.
FINALIZER = "resource.kubernetes.io/delete-protection"
# Of a claim that was made for a pod: which of the pod's claims it is.
POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
# Of a claim that the scheduler has made for the extended resources that a pod asks for.
EXTENDED_CLAIM = "resource.kubernetes.io/extended-resource-claim"
# Of the extended resource that each class stands for, whatever else it says: before the name of the class.
CLASS_PREFIX = "deviceclass.resource.kubernetes.io/"
# The label of a namespace whose claims may look at devices that are others'.
ADMIN_ACCESS = "resource.kubernetes.io/admin-access"
# So many pods at most share a claim, and so many devices at most are one's.
MOST_CONSUMERS, MOST_DEVICES = 256, 32
PODS = "pods"
ALL, EXACT_COUNT = "All", "ExactCount"


class NotMadeYet(LookupError):
    """A claim that is made for a pod is not there yet."""


def claim_name(pod: core.Pod, entry: core.PodResourceClaim) -> str:
    """The name of the claim that an entry of ``spec.resourceClaims`` means; empty where the pod turned out to need none.

    Raises NotMadeYet.
    """
    if not entry.resource_claim_template_name:
        return str(entry.resource_claim_name)
    for made in pod.status.resource_claim_statuses:
        if made.name == entry.name:
            return str(made.resource_claim_name)
    raise NotMadeYet(f'pod "{pod.metadata.namespace}/{pod.metadata.name}": ResourceClaim not created yet')


def claim_names(pod: core.Pod) -> Iterator[str]:
    """The claims that a pod uses, as far as they are known."""
    for entry in pod.spec.resource_claims:
        try:
            name = claim_name(pod, entry)
        except NotMadeYet:
            continue
        if name:
            yield name
    if made := pod.status.extended_resource_claim_status.resource_claim_name:
        yield made


def may_be_devices(resource_name: str) -> bool:
    """Whether a class of devices may stand for a resource."""
    return is_extended(resource_name) or resource_name.startswith(CLASS_PREFIX)


def strange(pod: core.Pod, claim: resource.ResourceClaim) -> str:
    """Why a claim is none that was made for the pod; empty where it was."""
    if is_controlled_by(claim, pod):
        return ""
    place = f"{claim.metadata.namespace}/{claim.metadata.name}"
    return f"ResourceClaim {place} was not created for pod {pod.metadata.namespace}/{pod.metadata.name} (pod is not owner)"


def is_allocated(claim: resource.ResourceClaim) -> bool:
    return claim.status.HasField("allocation")


def is_reserved_for(claim: resource.ResourceClaim, pod: core.Pod) -> bool:
    return any(consumer.uid == pod.metadata.uid for consumer in claim.status.reserved_for)


def has_place(claim: resource.ResourceClaim) -> bool:
    """Whether one more may share it."""
    return len(claim.status.reserved_for) < MOST_CONSUMERS


def reserve(claim: resource.ResourceClaim, pod: core.Pod) -> None:
    claim.status.reserved_for.add(resource=PODS, name=pod.metadata.name, uid=pod.metadata.uid)


def take_back(claim: resource.ResourceClaim) -> None:
    """Makes the devices of a claim free."""
    for field in ("allocation", "devices", "reserved_for"):
        claim.status.ClearField(field)


def is_done(pod: core.Pod) -> bool:
    """Whether nothing of a pod runs, or will."""
    return is_finished(pod) or (is_deleting(pod) and not pod.spec.node_name)


def tolerates(toleration: resource.DeviceToleration, taint: resource.DeviceTaint) -> bool:
    """An empty effect means all effects; an empty key all keys."""
    if toleration.effect not in ("", taint.effect) or toleration.key not in ("", taint.key):
        return False
    return bool(toleration.operator == "Exists" or (toleration.operator in ("", "Equal") and toleration.value == taint.value))


def taints_device(rule: resource.DeviceTaintRule, driver: str, pool: str, device: str) -> bool:
    """Whether a rule is about a device. A selector without anything in it means all of them; a rule without a selector none."""
    chosen = rule.spec.device_selector
    wanted = ((chosen.driver, driver), (chosen.pool, pool), (chosen.device, device))
    return rule.spec.HasField("device_selector") and all(name in ("", real) for name, real in wanted)


def keeps_off(taints: Iterable[resource.DeviceTaint], tolerations: Iterable[resource.DeviceToleration]) -> bool:
    """Whether one of the taints keeps a device from whoever tolerates no more than that."""
    borne = list(tolerations)
    hard = (taint for taint in taints if taint.effect in (NO_SCHEDULE, NO_EXECUTE))
    return any(not any(tolerates(toleration, taint) for toleration in borne) for taint in hard)
