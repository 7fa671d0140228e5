"""How the nodes that a gated pod may go to are narrowed down: each that it would not have gone to before stays out of the question.

Specified by Kubernetes' KEP 3838.
"""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import CUT, CUT_LIST, Path, invalid
from services.apiserver.strategies.paths import SPEC


def validate_narrower(new: core.PodSpec, old: core.PodSpec) -> list[Cause]:
    """Labels and expressions may be added to those that nodes must have, and what is preferred may change in any way."""
    causes: list[Cause] = []
    if any(new.node_selector.get(key) != value for key, value in old.node_selector.items()):
        words = "only additions to `spec.nodeSelector` are allowed (no mutations or deletions)"
        causes.append(invalid(SPEC.child("nodeSelector"), dict(new.node_selector), words))
    required = SPEC.child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    return causes + _terms(_required(new), _required(old), required.child("nodeSelectorTerms"))


def _required(spec: core.PodSpec) -> list[core.NodeSelectorTerm]:
    return list(spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms)


def _terms(new: list[core.NodeSelectorTerm], old: list[core.NodeSelectorTerm], path: Path) -> list[Cause]:
    """One more term would let in more nodes, unless there was none: then all were let in."""
    if not old:
        return []
    if len(new) != len(old):
        words = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        return [invalid(path, CUT_LIST, words)]
    words = "only additions are allowed (no mutations or deletions)"
    return [
        invalid(path.index(index), CUT, words)
        for index, (after, before) in enumerate(zip(new, old, strict=True))
        if not _has_only_more(after, before)
    ]


def _has_only_more(after: core.NodeSelectorTerm, before: core.NodeSelectorTerm) -> bool:
    # A term without any expression lets in no node: with one it would.
    if not before.match_expressions and not before.match_fields:
        return not after.match_expressions and not after.match_fields
    return list(after.match_expressions[: len(before.match_expressions)]) == list(before.match_expressions) and list(
        after.match_fields[: len(before.match_fields)]
    ) == list(before.match_fields)
