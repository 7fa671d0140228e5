"""Rules about what a pod's status says of its containers: as whom they run, and how what they were given is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, duplicate, forbidden, invalid, not_supported, range_error
from services.apiserver.strategies.paths import STATUS

HIGHEST_ID = 2**31 - 1
HEALTH = ("Healthy", "Unhealthy", "Unknown")
OF_REQUESTS = "must match one of the container's resource requests"
OF_CLAIMS = (
    "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty"
)


def validate_said_of_containers(pod: core.Pod) -> list[Cause]:
    spec, status = pod.spec, pod.status
    lists: tuple[tuple[str, Sequence[core.ContainerStatus], Sequence[core.Container] | None], ...] = (
        ("containerStatuses", status.container_statuses, spec.containers),
        ("initContainerStatuses", status.init_container_statuses, spec.init_containers),
        ("ephemeralContainerStatuses", status.ephemeral_container_statuses, None),
    )
    causes: list[Cause] = []
    for name, statuses, containers in lists:
        for index, said in enumerate(statuses):
            path = STATUS.child(name).index(index)
            causes += _user(said.user, path.child("linux"), windows=spec.os.name == "windows") if said.HasField("user") else []
            causes += _given(said, containers, path.child("allocatedResourcesStatus"))
    return causes


def _user(user: core.ContainerUser, path: Path, *, windows: bool) -> list[Cause]:
    if not user.HasField("linux"):
        return []
    if windows:
        return [forbidden(path, "cannot be set for a windows pod")]
    ids = [(path.child("uid"), user.linux.uid), (path.child("gid"), user.linux.gid)]
    ids += [(path.child("supplementalGroups").index(index), group) for index, group in enumerate(user.linux.supplemental_groups)]
    return [invalid(here, number, range_error(0, HIGHEST_ID)) for here, number in ids if not 0 <= number <= HIGHEST_ID]


def _given(said: core.ContainerStatus, containers: Iterable[core.Container] | None, path: Path) -> list[Cause]:
    """``containers`` is None for those that are given nothing."""
    if containers is None:
        return [forbidden(path, "must not be specified in container status")] if said.allocated_resources_status else []
    container = next((found for found in containers if found.name == said.name), None)
    causes: list[Cause] = []
    for index, resource in enumerate(said.allocated_resources_status):
        here = path.index(index)
        if container is not None and resource.name not in _names(container):
            causes.append(invalid(here.child("name"), resource.name, OF_CLAIMS if resource.name.startswith("claim:") else OF_REQUESTS))
        causes += _health(resource.resources, here.child("resources"))
    return causes


def _names(container: core.Container) -> set[str]:
    claims = {f"claim:{claim.name}/{claim.request}" if claim.request else f"claim:{claim.name}" for claim in container.resources.claims}
    return claims | set(container.resources.requests)


def _health(resources: Sequence[core.ResourceHealth], path: Path) -> list[Cause]:
    causes, seen = list[Cause](), set[str]()
    for index, resource in enumerate(resources):
        here = path.index(index)
        if resource.health not in HEALTH:
            causes.append(not_supported(here.child("health"), resource.health, HEALTH))
        if resource.resource_id in seen:
            causes.append(duplicate(here.child("resourceID"), resource.resource_id))
        seen.add(resource.resource_id)
    return causes
