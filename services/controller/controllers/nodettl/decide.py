"""NodeTtl: how long a kubelet may go by a ConfigMap or a Secret that it has read, by the number of nodes. Pure; Kubernetes' figures."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

# On a Node, in seconds. Kubelets of Kubernetes that do not watch what their pods name go by it.
TTL = "node.alpha.kubernetes.io/ttl"


@dataclass(frozen=True, slots=True)
class Step:
    """``seconds`` for clusters of ``fewest`` to ``most`` nodes."""

    fewest: float
    most: float
    seconds: int


# They overlap, so that a node that comes and goes does not change all others.
STEPS = (Step(0, 100, 0), Step(90, 500, 15), Step(450, 1000, 30), Step(900, 2000, 60), Step(1800, inf, 300))


def step_of(nodes: int, current: int) -> int:
    """The place of the step for that many nodes, where ``current`` was it before."""
    while nodes > STEPS[current].most:
        current += 1
    while nodes < STEPS[current].fewest:
        current -= 1
    return current
