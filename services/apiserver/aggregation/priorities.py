"""In which order groups and versions are told to clients: Kubernetes' own numbers, the higher the earlier."""

from __future__ import annotations

from typing import NamedTuple

from knarr.machinery.resources import version_priority


class Priority(NamedTuple):
    """As an APIService has it: ``group`` 1 to 20,000, ``version`` 1 to 1,000."""

    group: int
    version: int


# Of the groups that are built in. One that is not named is told last of them.
GROUPS = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "resource.k8s.io": 15900,
    "storagemigration.k8s.io": 15800,
    "metrics.k8s.io": 100,
}
OTHER = 15700
# A version that is stable; the newest of a group that has several comes first.
STABLE, NEWEST = 15, 30
CUSTOM = Priority(1000, 100)


def built_in(group: str, version: str) -> Priority:
    """That of a built-in group version."""
    _, major, *_ = version_priority(version)
    return Priority(GROUPS.get(group, OTHER), 1 if not group else STABLE if major == -1 else NEWEST)
