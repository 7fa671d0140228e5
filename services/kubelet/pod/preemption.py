"""Who makes room for a critical pod that the node has none for: the kubelet's own preemption, which knows nothing of the scheduler's. Pure.

Kubernetes' order: as few guaranteed pods as will do, then burstable, then those that ask for nothing, and of a class those first that give
most of what is missing, the smaller one where two give the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.amounts import CPU, MEMORY, Amounts, pod_requests
from knarr.objects.qos import BEST_EFFORT, BURSTABLE, GUARANTEED, qos_of
from services.kubelet.pod.admission import needs
from services.kubelet.pod.critical import is_critical
from services.kubelet.pod.protection import Refusal

MESSAGE = "Preempted in order to admit critical pod"
# Of the pod's condition.
DISRUPTION = "Pod was preempted by Kubelet to accommodate a critical pod."


def yields_to(pod: core.Pod, critical: core.Pod) -> bool:
    """Whether ``pod`` may be ended for a critical one: it is none itself, or of lower priority."""
    if not is_critical(pod):
        return True
    # A pod of the node's own has none.
    return pod.spec.HasField("priority") and critical.spec.HasField("priority") and pod.spec.priority < critical.spec.priority


def victims(critical: core.Pod, pods: Iterable[core.Pod], missing: Amounts) -> list[core.Pod] | None:
    """Those of ``pods``, which run or are to, that end so that there is what is ``missing``; None where all together have not enough."""
    classes: dict[str, list[core.Pod]] = {BEST_EFFORT: [], BURSTABLE: [], GUARANTEED: []}
    for pod in pods:
        if yields_to(pod, critical):
            classes[qos_of(pod)].append(pod)
    best_effort, burstable, guaranteed = classes.values()
    if _left(missing, (*best_effort, *burstable, *guaranteed)):
        return None
    ended = _fewest(guaranteed, _left(missing, (*best_effort, *burstable)))
    ended = [*_fewest(burstable, _left(missing, (*best_effort, *ended))), *ended]
    return [*_fewest(best_effort, _left(missing, ended)), *ended]


def impossible(missing: Amounts, pods: Iterable[core.Pod], critical: core.Pod) -> Refusal:
    """Of a critical pod for which all that may end would not make room."""
    left = _left(missing, [pod for pod in pods if yields_to(pod, critical)])
    told = "".join(f"(res: {name}, q: {amount}), " for name, amount in left.items())
    words = f"preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: [{told}]"
    return Refusal("UnexpectedAdmissionError", f"Unexpected error while attempting to recover from admission failure: {words}")


def _left(missing: Amounts, ended: Iterable[core.Pod]) -> Amounts:
    """What is still missing when some have ended."""
    left = dict(missing)
    for pod in ended:
        for name, amount in needs(pod).items():
            if name in left:
                left[name] -= amount
    return {name: amount for name, amount in left.items() if amount > 0}


def _fewest(pods: list[core.Pod], missing: Amounts) -> list[core.Pod]:
    """One after the other the one that gives most of what is left to give, each resource weighing the same. They have enough."""
    left, ended, waiting = missing, list[core.Pod](), list(pods)
    while left:
        chosen = min(waiting, key=lambda pod: (_distance(pod, left), *_size(pod)))
        waiting.remove(chosen)
        ended.append(chosen)
        left = _left(left, (chosen,))
    return ended


def _distance(pod: core.Pod, missing: Amounts) -> float:
    """How far from all that is missing a pod stays: the sum of squares of the shares that it leaves."""
    given = needs(pod)
    return sum((max(amount - given.get(name, 0), 0) / amount) ** 2 for name, amount in missing.items())


def _size(pod: core.Pod) -> tuple[int, int]:
    requests = pod_requests(pod)
    return requests.get(MEMORY, 0), requests.get(CPU, 0)
