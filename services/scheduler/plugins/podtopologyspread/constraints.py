"""What a pod asks of its spread over domains of nodes; what counts for one that asks nothing."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.selectors import EQUALS, NOTHING, Requirement, Selector, label_selector, stored_label_selector
from services.scheduler.likeness import Likeness
from services.scheduler.plugin import Cluster
from services.scheduler.plugins.podtopologyspread.arguments import LIST, PodTopologySpreadArgs
from services.scheduler.pod_facts import PodFacts
from services.scheduler.tally import Question

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
FORBIDS = "DoNotSchedule"
IGNORE, HONOR = "Ignore", "Honor"
# What Kubernetes' scheduler assumes (``defaultingType: System``): label, and by how much domains may differ.
DEFAULTS = ((HOSTNAME, 3), (ZONE, 5))


@dataclass(frozen=True, slots=True)
class Constraint:
    """``owner``: only pods of this controller count, of whatever labels; empty for all."""

    label: str
    max_skew: int
    selector: Selector
    forbids: bool = False
    min_domains: int = 1
    honors_affinity: bool = True
    honors_taints: bool = False
    owner: str = ""
    # One that nobody asked for, and no profile either; nodes without its label are judged all the same.
    assumed: bool = False

    def counts(self, likeness: Likeness, namespace: str) -> bool:
        """Whether a pod counts: those that are on their way out do not."""
        if likeness.ending or likeness.namespace != namespace:
            return False
        return (not self.owner or likeness.owner == self.owner) and self.selector.matches(likeness.labels)

    def question(self, namespace: str) -> Question:
        key: Hashable = ("spread", namespace, self.selector, self.owner)
        return Question(key, lambda likeness: self.counts(likeness, namespace), frozenset((namespace,)))


def asked_by(pod: PodFacts) -> Sequence[Constraint]:
    """The constraints of a pod's own."""
    return [_constraint(pod, found) for found in pod.pod.spec.topology_spread_constraints]


def assumed_for(pod: PodFacts, cluster: Cluster, args: PodTopologySpreadArgs) -> Sequence[Constraint]:
    """Those of a pod that has none: it is spread among the pods of its controller, or among those of its Services."""
    if args.defaulting_type == LIST and not args.default_constraints:
        return []
    namespace, labels = pod.key.namespace, pod.labels
    chosen: dict[str, str] = {}
    for service in cluster.list(core.Service, namespace):
        found = service.spec.selector
        if found and all(labels.get(key) == value for key, value in found.items()):
            chosen.update(found)
    if not chosen and not pod.owner:
        return []
    selector = label_selector(chosen)
    if args.defaulting_type == LIST:
        return [replace(_constraint(pod, found), selector=selector, owner=pod.owner) for found in args.default_constraints]
    return [Constraint(label, skew, selector, owner=pod.owner, assumed=True) for label, skew in DEFAULTS]


def _constraint(pod: PodFacts, found: core.TopologySpreadConstraint) -> Constraint:
    return Constraint(
        label=found.topology_key,
        max_skew=found.max_skew,
        selector=Selector((*_chosen(found).requirements, *_equal_to(pod, found.match_label_keys))),
        forbids=found.when_unsatisfiable == FORBIDS,
        min_domains=found.min_domains if found.HasField("min_domains") else 1,
        honors_affinity=found.node_affinity_policy != IGNORE,
        honors_taints=found.node_taints_policy == HONOR,
    )


def _chosen(found: core.TopologySpreadConstraint) -> Selector:
    # Without a selector no pod counts.
    return stored_label_selector(found.label_selector) if found.HasField("label_selector") else NOTHING


def _equal_to(pod: PodFacts, keys: Iterable[str]) -> Iterable[Requirement]:
    return (Requirement(key, EQUALS, frozenset((pod.labels[key],))) for key in keys if key in pod.labels)
