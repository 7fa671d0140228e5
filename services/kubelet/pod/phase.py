"""When a pod is finished and which containers run again: rules shared by decisions and status."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.pods import is_sidecar
from services.kubelet.pod.facts import PodFacts
from services.kubelet.runtime.port import EXITED, Container, PodObservation


def restarts(pod: core.Pod, spec: core.Container, container: Container, facts: PodFacts) -> bool:
    """Whether a container that exited is to run again: by the restart policy, or for what it was killed for."""
    policy = pod.spec.restart_policy or "Always"
    known = facts.containers.get(container.id)
    if is_sidecar(spec) or (known is not None and known.again):
        return True
    is_init = any(spec.name == init.name for init in pod.spec.init_containers)
    if is_init:
        return container.exit_code != 0 and policy != "Never"
    return policy == "Always" or (policy == "OnFailure" and container.exit_code != 0)


def failed_init(pod: core.Pod, observation: PodObservation) -> bool:
    """Whether an init container failed for good."""
    if pod.spec.restart_policy != "Never":
        return False
    for spec in pod.spec.init_containers:
        container = observation.latest(spec.name)
        if not is_sidecar(spec) and container is not None and container.state == EXITED and container.exit_code != 0:
            return True
    return False


def has_finished(pod: core.Pod, observation: PodObservation, facts: PodFacts) -> bool:
    """Whether every app container ended and none runs again (or an init container failed for good)."""
    if failed_init(pod, observation):
        return True
    for spec in pod.spec.containers:
        container = observation.latest(spec.name)
        if container is None or container.state != EXITED or restarts(pod, spec, container, facts):
            return False
    return bool(pod.spec.containers)
