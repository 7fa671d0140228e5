"""Rules about a pod's spec, alone or in a template."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    check_choice,
    check_format,
    dns1123_label,
    dns1123_subdomain,
    duplicate,
    forbidden,
    invalid,
    qualified_name,
    range_error,
    too_many,
)
from services.apiserver.strategies.metadata import validate_annotations, validate_labels
from services.apiserver.strategies.pod.annotations import validate_pod_annotations
from services.apiserver.strategies.pod.containers import PodFacts, validate_containers, validate_init_containers
from services.apiserver.strategies.pod.devices import validate_device_claims
from services.apiserver.strategies.pod.names import validate_dns, validate_host_aliases, validate_hostname_override
from services.apiserver.strategies.pod.scheduling import validate_affinity, validate_tolerations, validate_topology_spread
from services.apiserver.strategies.pod.security import validate_pod_security
from services.apiserver.strategies.pod.volumes import validate_volumes
from services.apiserver.strategies.pod.whole import validate_as_a_whole

# How many elements the lists of a pod and of each of its containers may have. Kubernetes leaves this to the size of the whole; but each
# pod is read again by the scheduler, its kubelet and the controllers, in the loops that serve all others too.
LIMITS = {
    "containers": 256,
    "init_containers": 256,
    "ephemeral_containers": 256,
    "volumes": 1024,
    "tolerations": 1024,
    "image_pull_secrets": 256,
    "host_aliases": 1024,
    "readiness_gates": 256,
    "scheduling_gates": 256,
    "resource_claims": 256,
    "topology_spread_constraints": 256,
}
CONTAINER_LIMITS = {"ports": 1024, "env": 8192, "env_from": 1024, "volume_mounts": 2048, "command": 16384, "args": 16384}
RESTART_POLICIES = ("Always", "Never", "OnFailure")
MAX_SECONDS = 2**31 - 1


def validate_pod_spec(spec: core.PodSpec, path: Path) -> list[Cause]:
    if too_large := list(_too_large(spec, path)):
        return too_large
    causes, volumes = validate_volumes(spec.volumes, path.child("volumes"))
    facts = PodFacts.of(spec, volumes)
    causes += validate_containers(spec.containers, facts, path.child("containers"))
    causes += validate_init_containers(spec.init_containers, facts, path.child("initContainers"))
    causes += validate_as_a_whole(spec, path)
    causes += check_choice(path.child("restartPolicy"), spec.restart_policy, RESTART_POLICIES)
    causes += validate_dns(spec, path)
    causes += validate_labels(spec.node_selector, path.child("nodeSelector"))
    causes += validate_topology_spread(spec.topology_spread_constraints, path.child("topologySpreadConstraints"))
    causes += validate_pod_security(spec, path)
    if spec.HasField("affinity"):
        causes += validate_affinity(spec.affinity, path.child("affinity"))
    causes += validate_tolerations(spec.tolerations, path.child("tolerations"))
    causes += validate_device_claims(spec, path)
    causes += _names(spec, path)
    causes += validate_hostname_override(spec, path)
    causes += validate_host_aliases(spec.host_aliases, path.child("hostAliases"))
    causes += _scheduling_gates(spec, path.child("schedulingGates"))
    for index, gate in enumerate(spec.readiness_gates):
        causes += check_format(path.child("readinessGates").index(index).child("conditionType"), gate.condition_type, qualified_name)
    if spec.HasField("active_deadline_seconds") and not 1 <= spec.active_deadline_seconds <= MAX_SECONDS:
        causes.append(invalid(path.child("activeDeadlineSeconds"), spec.active_deadline_seconds, range_error(1, MAX_SECONDS)))
    if spec.HasField("preemption_policy"):
        causes += check_choice(path.child("preemptionPolicy"), spec.preemption_policy, ("Never", "PreemptLowerPriority"))
    if spec.HasField("os"):
        causes += check_choice(path.child("os", "name"), spec.os.name, ("linux", "windows"))
    return causes


def _scheduling_gates(spec: core.PodSpec, path: Path) -> list[Cause]:
    causes, seen = list[Cause](), set[str]()
    for index, gate in enumerate(spec.scheduling_gates):
        causes += check_format(path.index(index), gate.name, qualified_name)
        if gate.name in seen:
            causes.append(duplicate(path.index(index), gate.name))
        seen.add(gate.name)
    return causes


def _too_large(spec: core.PodSpec, path: Path) -> Iterator[Cause]:
    """What is more than any node could run, or any reader should have to go through."""
    yield from _too_many(spec, LIMITS, lambda: path)
    for field, name in (("init_containers", "initContainers"), ("containers", "containers")):
        for index, container in enumerate(getattr(spec, field)[: LIMITS[field]]):
            yield from _too_many(container, CONTAINER_LIMITS, lambda: path.child(name).index(index))  # noqa: B023


def _too_many(message: Any, limits: Mapping[str, int], path: Callable[[], Path]) -> Iterator[Cause]:
    for field, limit in limits.items():
        count = len(getattr(message, field))
        if count > limit:
            yield too_many(path().child(message.DESCRIPTOR.fields_by_name[field].json_name), count, limit)


def too_many_of(field: str, count: int, path: Path) -> list[Cause]:
    """Why a list of a pod's spec has too many elements, if it has."""
    return [too_many(path, count, LIMITS[field])] if count > LIMITS[field] else []


def validate_template(template: core.PodTemplateSpec, path: Path) -> list[Cause]:
    """The template of a workload; the selector that must match it is the workload's affair."""
    causes = validate_labels(template.metadata.labels, path.child("labels"))
    causes += validate_annotations(template.metadata.annotations, path.child("annotations"))
    causes += validate_pod_annotations(template.metadata.annotations, template.spec, path.child("annotations"))
    causes += validate_pod_spec(template.spec, path.child("spec"))
    if template.spec.ephemeral_containers:
        causes.append(forbidden(path.child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
    return causes


def _names(spec: core.PodSpec, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for value, name, format_ in (
        (spec.service_account_name, "serviceAccountName", dns1123_subdomain),
        (spec.node_name, "nodeName", dns1123_subdomain),
        (spec.hostname, "hostname", dns1123_label),
        (spec.subdomain, "subdomain", dns1123_label),
        (spec.priority_class_name, "priorityClassName", dns1123_subdomain),
        (spec.runtime_class_name, "runtimeClassName", dns1123_subdomain),
    ):
        if value:
            causes += check_format(path.child(name), value, format_)
    return causes
