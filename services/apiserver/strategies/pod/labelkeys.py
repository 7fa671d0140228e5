"""``matchLabelKeys`` and ``mismatchLabelKeys`` become requirements of the selectors beside them when a pod is made.

The labels that a pod has then are those that count: its terms stay as they were understood (Kubernetes' enhancements 3633 and 3243).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta


def merge_label_keys(pod: core.Pod) -> None:
    """Adds to each selector of the pod's terms what its keys say of the pod's labels; labels that it has not say nothing."""
    labels = pod.metadata.labels
    for term in _terms(pod.spec):
        if term.HasField("label_selector"):
            _add(term.label_selector, "In", term.match_label_keys, labels)
            _add(term.label_selector, "NotIn", term.mismatch_label_keys, labels)
    for constraint in pod.spec.topology_spread_constraints:
        if constraint.HasField("label_selector"):
            _add(constraint.label_selector, "In", constraint.match_label_keys, labels)


def _add(selector: meta.LabelSelector, operator: str, keys: Iterable[str], labels: Mapping[str, str]) -> None:
    for key in keys:
        if key in labels:
            selector.match_expressions.add(key=key, operator=operator, values=[labels[key]])


def _terms(spec: core.PodSpec) -> Iterator[core.PodAffinityTerm]:
    if not spec.HasField("affinity"):
        return
    sides: tuple[Any, ...] = (spec.affinity.pod_affinity, spec.affinity.pod_anti_affinity)
    for field, side in zip(("pod_affinity", "pod_anti_affinity"), sides, strict=True):
        if spec.affinity.HasField(field):
            yield from side.required_during_scheduling_ignored_during_execution
            yield from (found.pod_affinity_term for found in side.preferred_during_scheduling_ignored_during_execution)
