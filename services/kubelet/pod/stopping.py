"""How a pod ends: in which order, and how long its containers may take. Pure."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.pods import init_and_main_containers, is_sidecar
from services.kubelet.pod.actions import (
    CLEANUP,
    SANDBOX,
    CleanUp,
    Decision,
    KillContainer,
    ReleaseVolumes,
    RemoveContainers,
    RemoveSandboxes,
    RunPreStop,
)
from services.kubelet.pod.facts import PodFacts
from services.kubelet.pod.view import PodView
from services.kubelet.runtime.port import RUNNING, Container

MINIMUM_GRACE_SECONDS = 1.0
# The API takes any number; beyond this, 68 years, engines count wrong.
MAXIMUM_GRACE_SECONDS = float(2**31 - 1)
# Of a pod that does not say how long its containers may take.
DEFAULT_GRACE_SECONDS = 30.0


def termination_grace_seconds(pod: core.Pod) -> float:
    """How long a container may take to end while its pod goes on."""
    spec = pod.spec
    if not spec.HasField("termination_grace_period_seconds"):
        return DEFAULT_GRACE_SECONDS
    if spec.termination_grace_period_seconds < 0:
        return MINIMUM_GRACE_SECONDS
    return min(float(spec.termination_grace_period_seconds), MAXIMUM_GRACE_SECONDS)


def stop_grace_seconds(pod: core.Pod, facts: PodFacts) -> float:
    """How long the containers of a pod that is to end may take."""
    if facts.grace_seconds is not None:
        return facts.grace_seconds
    if facts.gone:
        return MINIMUM_GRACE_SECONDS
    if pod.metadata.HasField("deletion_grace_period_seconds"):
        return min(max(float(pod.metadata.deletion_grace_period_seconds), MINIMUM_GRACE_SECONDS), MAXIMUM_GRACE_SECONDS)
    return termination_grace_seconds(pod)


def _left(view: PodView) -> float:
    """What is left of the time that all containers have together, seconds: those that end last get no more of it."""
    grace, since = stop_grace_seconds(view.pod, view.facts), view.facts.stopping_since
    gone = (view.now - since).total_seconds() if since is not None else 0.0
    return max(grace - max(gone, 0.0), MINIMUM_GRACE_SECONDS)


def _has_begun(facts: PodFacts, container: Container) -> bool:
    """Whether its preStop hook runs, or has run."""
    known = facts.containers.get(container.id)
    return known is not None and known.pre_stop_begun


def stop(view: PodView, decision: Decision, *, remove: bool) -> None:
    """Ends the app containers, then the sidecars from the last to the first, then the sandbox, then its volumes. ``remove``: then all
    there is. So it is with a pod that the node has let go, which its object outlives."""
    pod, observation, facts = view.pod, view.observation, view.facts
    decision.activity = "stopping"
    away = remove or facts.let_go
    running = [container for container in observation.containers if container.state == RUNNING]
    grace = _left(view)
    specs = {spec.name: spec for spec in init_and_main_containers(pod.spec)}
    sidecars = [spec.name for spec in pod.spec.init_containers if is_sidecar(spec)]
    first = [container for container in running if container.name not in sidecars]
    if not first:
        last = max((sidecars.index(container.name) for container in running), default=-1)
        first = [container for container in running if container.name in sidecars[last : last + 1]]
    for container in running:
        message, spec = f"Stopping container {container.name}", specs.get(container.name)
        if container in first:
            decision.actions.append(KillContainer(spec, container, grace, message))
        elif spec is not None and spec.lifecycle.HasField("pre_stop") and not _has_begun(facts, container):
            # Sidecars hear at once that they are to end, though their turn comes later.
            decision.actions.append(RunPreStop(spec, container, grace, message))
    if running or facts.busy - {SANDBOX, CLEANUP}:
        return
    if observation.sandboxes:
        decision.actions.append(RemoveSandboxes(observation.sandboxes))
    elif away and observation.containers:
        decision.actions.append(RemoveContainers(observation.containers))
    elif facts.busy:
        return
    elif away and not facts.cleaned:
        decision.actions.append(CleanUp())
    elif not away and (facts.driven or not facts.released):
        decision.actions.append(ReleaseVolumes())
    else:
        decision.activity = "ended"
        decision.done = True
