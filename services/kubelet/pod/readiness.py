"""Whether a container has started and whether it is ready, by its probes and its postStart hook. Pure."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.pod.facts import ContainerFacts, PodFacts
from services.kubelet.runtime.port import RUNNING, Container


def is_started(spec: core.Container, container: Container, facts: PodFacts) -> bool:
    """Whether a running container has passed its startup probe and postStart hook."""
    known = facts.containers.get(container.id) or ContainerFacts()
    if spec.lifecycle.HasField("post_start") and (known.hook_failure or not known.post_start_done):
        return False
    return bool(known.started) if spec.HasField("startup_probe") else True


def is_ready(spec: core.Container, container: Container, facts: PodFacts) -> bool:
    """Whether a container answers: it runs, has started and its readiness probe says so."""
    if container.state != RUNNING or not is_started(spec, container, facts):
        return False
    known = facts.containers.get(container.id) or ContainerFacts()
    return bool(known.ready) if spec.HasField("readiness_probe") else True
