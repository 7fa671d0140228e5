"""When a pod is finished and which containers run again: rules shared by decisions and status."""

from __future__ import annotations

from collections.abc import Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.pods import init_and_main_containers, is_sidecar
from knarr.objects.restarts import restarts_all, runs_again
from services.kubelet.pod.facts import PodFacts
from services.kubelet.runtime.port import EXITED, Container, PodObservation


def restarts(pod: core.Pod, spec: core.Container, container: Container, facts: PodFacts) -> bool:
    """Whether a container that exited is to run again: by policies and rules, or for what it was killed for."""
    known = facts.containers.get(container.id)
    if is_sidecar(spec) or (known is not None and known.again):
        return True
    if container.exit_code == 0 and any(spec.name == init.name for init in pod.spec.init_containers):
        return False
    return runs_again(spec, pod.spec.restart_policy, container.exit_code)


def starts_anew(pod: core.Pod, observation: PodObservation) -> Sequence[Container]:
    """The containers whose end starts the whole pod anew, by their rules. They stay until all others are gone."""
    found = ((spec, observation.latest(spec.name)) for spec in init_and_main_containers(pod.spec) if spec.restart_policy_rules)
    return [c for spec, c in found if c is not None and c.state == EXITED and restarts_all(spec, c.exit_code)]


def failed_init(pod: core.Pod, observation: PodObservation) -> bool:
    """Whether an init container failed for good."""
    for spec in pod.spec.init_containers:
        container = observation.latest(spec.name)
        if is_sidecar(spec) or container is None or container.state != EXITED or container.exit_code == 0:
            continue
        if not runs_again(spec, pod.spec.restart_policy, container.exit_code):
            return True
    return False


def has_finished(pod: core.Pod, observation: PodObservation, facts: PodFacts) -> bool:
    """Whether every app container ended and none runs again (or an init container failed for good)."""
    if starts_anew(pod, observation):
        return False
    if failed_init(pod, observation):
        return True
    for spec in pod.spec.containers:
        container = observation.latest(spec.name)
        if container is None or container.state != EXITED or restarts(pod, spec, container, facts):
            return False
    return bool(pod.spec.containers)
