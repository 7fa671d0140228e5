"""What rules on other pods mean, by a plain reading of Kubernetes' documentation: slow, pod by pod, without the scheduler's own code."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knarr.api.core.v1 import core_pb2 as core

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


@dataclass(frozen=True)
class World:
    """Nodes by name; pods that are placed, with the names of their nodes; labels of namespaces; Services."""

    nodes: Mapping[str, core.Node]
    placed: Sequence[tuple[core.Pod, str]]
    namespaces: Mapping[str, Mapping[str, str]]
    services: Sequence[core.Service]

    def label(self, node: str, key: str) -> str | None:
        labels = dict(self.nodes[node].metadata.labels)
        return labels.get(key)

    @property
    def there(self) -> list[tuple[core.Pod, str]]:
        return [(pod, node) for pod, node in self.placed if node in self.nodes]


def chooses(selector: Any, labels: Mapping[str, str]) -> bool:
    """Selectors here have ``matchLabels`` alone."""
    return all(labels.get(key) == value for key, value in selector.match_labels.items())


def means(world: World, asking: core.Pod, term: core.PodAffinityTerm, meant: core.Pod) -> bool:
    if not term.HasField("label_selector") or not chooses(term.label_selector, dict(meant.metadata.labels)):
        return False
    namespace = meant.metadata.namespace
    if not term.namespaces and not term.HasField("namespace_selector"):
        return bool(namespace == asking.metadata.namespace)
    by_labels = term.HasField("namespace_selector") and chooses(term.namespace_selector, world.namespaces.get(namespace, {}))
    return namespace in term.namespaces or by_labels


def required(pod: core.Pod, side: str) -> list[core.PodAffinityTerm]:
    affinity = getattr(pod.spec.affinity, side) if pod.spec.HasField("affinity") else None
    return list(affinity.required_during_scheduling_ignored_during_execution) if affinity is not None else []


def preferred(pod: core.Pod) -> list[tuple[int, core.PodAffinityTerm]]:
    if not pod.spec.HasField("affinity"):
        return []
    sides = ((1, pod.spec.affinity.pod_affinity), (-1, pod.spec.affinity.pod_anti_affinity))
    return [
        (sign * found.weight, found.pod_affinity_term)
        for sign, side in sides
        for found in side.preferred_during_scheduling_ignored_during_execution
    ]


def same_domain(world: World, one: str, other: str, key: str) -> bool:
    return world.label(one, key) is not None and world.label(one, key) == world.label(other, key)


def affinity_refuses(world: World, pod: core.Pod, node: str) -> str:
    """Which of the three rules refuses the node first: ``near``, ``away`` or ``unwanted``; empty where none does."""
    near = required(pod, "pod_affinity")
    meant = [(other, at) for other, at in world.there if near and all(means(world, pod, term, other) for term in near)]
    counted = [(term, at) for term in near for _, at in meant if world.label(at, term.topology_key) is not None]
    if near and not (not counted and all(means(world, pod, term, pod) for term in near)):
        together = all(any(found is term and same_domain(world, node, at, term.topology_key) for found, at in counted) for term in near)
        if not together:
            return "near"
    if any(world.label(node, term.topology_key) is None for term in near):
        return "near"
    for other, at in world.there:
        if any(
            means(world, pod, term, other) and same_domain(world, node, at, term.topology_key)
            for term in required(pod, "pod_anti_affinity")
        ):
            return "away"
    for other, at in world.there:
        terms = required(other, "pod_anti_affinity")
        if any(means(world, other, term, pod) and same_domain(world, node, at, term.topology_key) for term in terms):
            return "unwanted"
    return ""


def affinity_sum(world: World, pod: core.Pod, node: str, hard: int = 1) -> int:
    """What the score of a node is made of before it is brought to 0 … 100. ``hard``: what a required affinity of a placed pod counts."""
    total = 0
    for other, at in world.there:
        for weight, term in preferred(pod):
            if means(world, pod, term, other) and same_domain(world, node, at, term.topology_key):
                total += weight
        for weight, term in [*((hard, term) for term in required(other, "pod_affinity")), *preferred(other)]:
            if means(world, other, term, pod) and same_domain(world, node, at, term.topology_key):
                total += weight
    return total


def evenly(sums: Mapping[str, int]) -> dict[str, int]:
    least, most = min(sums.values()), max(sums.values())
    return {node: int(100 * ((found - least) / (most - least))) if most > least else 0 for node, found in sums.items()}


def is_selected(pod: core.Pod, node: core.Node) -> bool:
    """Node selectors and the one required expression that random pods have: not on the node ``n2``."""
    selected = all(dict(node.metadata.labels).get(key) == value for key, value in pod.spec.node_selector.items())
    terms = pod.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms
    return selected and not (terms and node.metadata.name == "n2")


def is_tolerated(pod: core.Pod, node: core.Node) -> bool:
    hard = [taint for taint in node.spec.taints if taint.effect != "PreferNoSchedule"]
    return all(any(found.key == taint.key and found.effect == taint.effect for found in pod.spec.tolerations) for taint in hard)


def counts_for(pod: core.Pod, constraint: core.TopologySpreadConstraint, other: core.Pod) -> bool:
    return not other.metadata.HasField("deletion_timestamp") and suits(pod, constraint, other)


def suits(pod: core.Pod, constraint: core.TopologySpreadConstraint, other: core.Pod) -> bool:
    """Whether the labels of one that would be there are those that are counted."""
    if not constraint.HasField("label_selector"):
        return False
    own, labels = dict(pod.metadata.labels), dict(other.metadata.labels)
    same = all(labels.get(key) == own[key] for key in constraint.match_label_keys if key in own)
    return bool(other.metadata.namespace == pod.metadata.namespace) and chooses(constraint.label_selector, labels) and same


def is_counted(pod: core.Pod, constraint: core.TopologySpreadConstraint, node: core.Node) -> bool:
    if constraint.node_affinity_policy != "Ignore" and not is_selected(pod, node):
        return False
    return constraint.node_taints_policy != "Honor" or is_tolerated(pod, node)


def spread_refuses(world: World, pod: core.Pod, node: str) -> str:
    """``unlabelled`` or ``uneven``; empty where the node will do."""
    hard = [one for one in pod.spec.topology_spread_constraints if one.when_unsatisfiable == "DoNotSchedule"]
    labelled = [name for name in world.nodes if all(world.label(name, one.topology_key) is not None for one in hard)]
    for one in hard:
        own = world.label(node, one.topology_key)
        if own is None:
            return "unlabelled"
        domains: dict[str, int] = {}
        for name in labelled:
            if is_counted(pod, one, world.nodes[name]):
                value = str(world.label(name, one.topology_key))
                found = sum(counts_for(pod, one, other) for other, at in world.there if at == name)
                domains[value] = domains.get(value, 0) + found
        least = min(domains.values(), default=2**31 - 1)
        if len(domains) < (one.min_domains if one.HasField("min_domains") else 1):
            least = 0
        if domains.get(own, 0) + suits(pod, one, pod) - least > one.max_skew:
            return "uneven"
    return ""


def spread_scores(world: World, pod: core.Pod, feasible: Sequence[str]) -> dict[str, int] | None:
    """By the pod's own soft constraints; None without any."""
    soft = [one for one in pod.spec.topology_spread_constraints if one.when_unsatisfiable == "ScheduleAnyway"]
    judged = [name for name in feasible if all(world.label(name, one.topology_key) is not None for one in soft)]
    if not soft or not judged:
        return None
    sums = {name: round_half_up(sum(_crowd(world, pod, one, soft, judged, name) for one in soft)) for name in judged}
    least, most = min(sums.values()), max(sums.values())
    scores = {name: 100 * (most + least - found) // most if most else 100 for name, found in sums.items()}
    return {name: scores.get(name, 0) for name in feasible}


def _crowd(world: World, pod: core.Pod, one: Any, soft: Sequence[Any], judged: Sequence[str], node: str) -> float:
    key = one.topology_key
    if key == HOSTNAME:
        size, counted = len(judged), [node]
    else:
        size = len({world.label(name, key) for name in judged})
        labelled = [name for name in world.nodes if all(world.label(name, other.topology_key) is not None for other in soft)]
        counted = [name for name in labelled if same_domain(world, name, node, key) and is_counted(pod, one, world.nodes[name])]
    found = sum(counts_for(pod, one, other) for other, at in world.there if at in counted)
    return found * math.log(size + 2) + float(one.max_skew - 1)


def round_half_up(value: float) -> int:
    return math.floor(value + 0.5)


def least_allocated(taken: int, offered: int) -> int:
    return 0 if taken > offered else (offered - taken) * 100 // offered


def most_allocated(taken: int, offered: int) -> int:
    return min(taken, offered) * 100 // offered


def on_shape(shape: Sequence[tuple[int, int]], taken: int, offered: int) -> int:
    """``shape``: pairs of utilization in percent and score up to ten; between them the score is on the line, cut off towards zero."""
    used = 100 if taken >= offered else taken * 100 // offered
    before = None
    for percent, score in shape:
        if used <= percent:
            if before is None:
                return score * 10
            rise = (score - before[1]) * 10 * (used - before[0])
            return before[1] * 10 + math.trunc(rise / (percent - before[0]))
        before = percent, score
    return shape[-1][1] * 10


def weighed(scores: Sequence[tuple[int, int]]) -> int:
    """The mean of scores by their weights; 0 of none."""
    weights = sum(weight for _, weight in scores)
    return sum(score * weight for score, weight in scores) // weights if weights else 0


def weighed_ratio(scores: Sequence[tuple[int, int]]) -> int:
    """The same, rounded, of those that are not 0."""
    counted = [(score, weight) for score, weight in scores if score > 0]
    weights = sum(weight for _, weight in counted)
    return round_half_up(sum(score * weight for score, weight in counted) / weights) if weights else 0


def evenness(shares: Sequence[float]) -> float:
    """100 where all shares are the same; what the deviation takes from it."""
    if not shares:
        return 100.0
    mean = sum(shares) / len(shares)
    return (1 - math.sqrt(sum((share - mean) ** 2 for share in shares) / len(shares))) * 100


def balance(after: Sequence[float], before: Sequence[float]) -> float:
    """By the shares that would be taken and are: 75 where the evenness of a node stays as it is; half of what it changes by, up or down."""
    return 75 + (evenness(after) - evenness(before)) / 2


def zones_refuse(volumes: Sequence[Mapping[str, str]], node: Mapping[str, str]) -> bool:
    """Whether the labels of volumes keep a pod from a node with these labels."""
    zone, region = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
    old_zone, old_region = "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region"
    if not {zone, region, old_zone, old_region} & set(node):
        return False
    for labels in volumes:
        for key, instead in ((zone, zone), (region, region), (old_zone, zone), (old_region, region)):
            if key not in labels:
                continue
            places = [place.strip() for place in labels[key].split("__")]
            if all(places) and node.get(key, node.get(instead)) not in places:
                return True
    return False
