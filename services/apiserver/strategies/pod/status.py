"""Rules about what a pod's status says besides its containers: addresses, conditions, claims, the node that is made free for it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    CUT_LIST,
    Path,
    check_distinct,
    check_format,
    dns1123_subdomain,
    duplicate,
    invalid,
    ip_address,
    qualified_name,
)
from services.apiserver.strategies.paths import METADATA, STATUS

# The types of conditions that have no prefix.
OWN_CONDITIONS = ("Initialized", "PodScheduled", "Ready")
ONE_OF_EACH = "may specify no more than one IP for each IP family"


def validate_said(new: core.Pod, old: core.Pod) -> list[Cause]:
    """What was said before is not judged again: it may have been there before its rule."""
    causes: list[Cause] = []
    for field, name in (("pod_ips", "podIPs"), ("host_ips", "hostIPs")):
        addresses, path = getattr(new.status, field), STATUS.child(name)
        if list(addresses) != list(getattr(old.status, field)):
            causes += _addresses([entry.ip for entry in addresses], path)
    if list(new.status.conditions) != list(old.status.conditions):
        causes += _conditions(new.status.conditions)
    node = new.status.nominated_node_name
    if node and node != old.status.nominated_node_name:
        causes += check_format(STATUS.child("nominatedNodeName"), node, dns1123_subdomain)
    return causes + _claims(new)


def _addresses(addresses: Sequence[str], path: Path) -> list[Cause]:
    """One, or one of each family."""
    causes = [cause for index, address in enumerate(addresses) for cause in check_format(path.index(index), address, ip_address)]
    if causes:
        return causes
    if len({ipaddress.ip_address(address).version for address in addresses}) < len(addresses):
        causes.append(invalid(path, CUT_LIST, ONE_OF_EACH))
    return causes + check_distinct(path, addresses)


def _conditions(conditions: Sequence[Any]) -> list[Cause]:
    # Kubernetes says `metadata` of what is in the status.
    path = METADATA.child("conditions")
    return [
        cause
        for index, condition in enumerate(conditions)
        if condition.type not in OWN_CONDITIONS
        for cause in check_format(path.index(index).child("Type"), condition.type, qualified_name)
    ]


def _claims(pod: core.Pod) -> list[Cause]:
    causes, seen = list[Cause](), set[str]()
    known = {claim.name for claim in pod.spec.resource_claims}
    for index, status in enumerate(pod.status.resource_claim_statuses):
        here = STATUS.child("resourceClaimStatuses").index(index).child("name")
        if status.name not in known:
            causes.append(invalid(here, status.name, "must match the name of an entry in `spec.resourceClaims`"))
        if status.name in seen:
            causes.append(duplicate(here, status.name))
        seen.add(status.name)
        if status.HasField("resource_claim_name"):
            causes += check_format(here, status.resource_claim_name, dns1123_subdomain)
    return causes
