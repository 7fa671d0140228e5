"""What several components ask of a pod."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_datetime
from knarr.objects.conditions import TRUE, get_condition, is_true
from knarr.objects.keys import is_deleting

# The annotation of a pod that shows one which its node runs by itself: the node has made it.
MIRROR = "kubernetes.io/config.mirror"
# Of a pod that a node runs by itself: where it has it from (`api` for all others), and what tells it from one that says something else.
CONFIG_SOURCE, CONFIG_HASH = "kubernetes.io/config.source", "kubernetes.io/config.hash"
PENDING, RUNNING, SUCCEEDED, FAILED, UNKNOWN = "Pending", "Running", "Succeeded", "Failed", "Unknown"


def is_static(pod: core.Pod) -> bool:
    """Whether it is a pod that a node runs by itself, and not the mirror that shows it."""
    annotations = pod.metadata.annotations
    return MIRROR not in annotations and annotations.get(CONFIG_SOURCE, "api") != "api"


def has_own_users(spec: core.PodSpec) -> bool:
    """Whether its users are not those of its node: root inside is nobody outside."""
    return spec.HasField("host_users") and not spec.host_users


def is_finished(pod: core.Pod) -> bool:
    """Whether all of its containers have ended for good."""
    return pod.status.phase in (SUCCEEDED, FAILED)


def is_active(pod: core.Pod) -> bool:
    """Whether it counts as a replica: neither finished nor being deleted."""
    return not is_finished(pod) and not is_deleting(pod)


def is_terminating(pod: core.Pod) -> bool:
    """Whether it is being deleted, and something of it may still run."""
    return is_deleting(pod) and not is_finished(pod)


def is_ready(pod: core.Pod) -> bool:
    """Whether its Ready condition is True."""
    return is_true(pod.status, "Ready")


def ready_since(pod: core.Pod) -> datetime | None:
    """When it became ready; None when it is not."""
    condition = get_condition(pod.status, "Ready")
    return to_datetime(condition.last_transition_time) if condition is not None and condition.status == TRUE else None


def seconds_until_available(pod: core.Pod, min_ready_seconds: int, now: datetime) -> float | None:
    """How long it must stay ready to be available; 0 when it is, None when it is not ready."""
    if not min_ready_seconds:
        return 0.0 if is_ready(pod) else None
    since = ready_since(pod)
    return None if since is None else max((since + timedelta(seconds=min_ready_seconds) - now).total_seconds(), 0.0)


def restarts(pod: core.Pod) -> int:
    """Restarts of its most restarted container."""
    return max((status.restart_count for status in pod.status.container_statuses), default=0)


def addresses_of(pod: core.Pod) -> tuple[str, ...]:
    """Its addresses, the first one of each family; empty until it has some."""
    return tuple(entry.ip for entry in pod.status.pod_ips) or ((pod.status.pod_ip,) if pod.status.pod_ip else ())


def is_sidecar(container: core.Container) -> bool:
    """Of an init container: whether it keeps running beside the containers that come after it."""
    return container.restart_policy == "Always"


def init_and_main_containers(spec: core.PodSpec) -> Sequence[core.Container]:
    """Init containers, then main ones."""
    return (*spec.init_containers, *spec.containers)


def ephemeral_containers(spec: core.PodSpec) -> Sequence[core.Container]:
    """Those that were added to a pod that runs, as containers: what they have in common with others has the same numbers."""
    return [core.Container.FromString(added.ephemeral_container_common.SerializeToString()) for added in spec.ephemeral_containers]


def every_container(spec: core.PodSpec) -> Sequence[core.Container]:
    """Init containers, main ones, ephemeral ones."""
    return (*spec.init_containers, *spec.containers, *ephemeral_containers(spec))


def container_statuses(status: core.PodStatus) -> Sequence[core.ContainerStatus]:
    """Of init containers, main ones, ephemeral ones."""
    return (*status.init_container_statuses, *status.container_statuses, *status.ephemeral_container_statuses)


def lasting_containers(spec: core.PodSpec) -> Sequence[core.Container]:
    """Those that serve while the pod runs: main containers, then sidecars."""
    return (*spec.containers, *(container for container in spec.init_containers if is_sidecar(container)))
