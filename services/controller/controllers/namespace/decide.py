"""Namespace: the conditions that tell a person why a namespace is still there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import set_condition
from knarr.objects.copies import copy_of

FINALIZER = "kubernetes"


@dataclass(slots=True)
class Content:
    """What is left in a namespace: ``remaining`` by resource (``pods.``, ``deployments.apps``),
    ``finalizers`` that hold it back, and ``errors`` met while deleting it."""

    remaining: Counter[str] = field(default_factory=Counter)
    finalizers: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def add(self, resource: str, finalizers: Iterable[str]) -> None:
        self.remaining[resource] += 1
        self.finalizers.update(finalizers)

    @property
    def empty(self) -> bool:
        return not self.remaining and not self.errors


def status(namespace: core.Namespace, content: Content, now: datetime) -> core.NamespaceStatus:
    """The status of a namespace that is going."""
    result = copy_of(namespace.status)
    result.phase = "Terminating"
    for kind, value, reason, message in _conditions(content):
        set_condition(result, kind, value, reason=reason, message=message, now=now)
    return result


def finalized(namespace: core.Namespace) -> core.Namespace | None:
    """The namespace without our finalizer; None when it has gone already."""
    if FINALIZER not in namespace.spec.finalizers:
        return None
    copy = copy_of(namespace)
    copy.spec.finalizers.remove(FINALIZER)
    return copy


def _conditions(content: Content) -> Sequence[tuple[str, str, str, str]]:
    problems = f"Failed to delete all resource types, {len(content.errors)} remaining: {', '.join(sorted(content.errors))}"
    failed = ("True", "ContentDeletionFailed", problems)
    deleted = ("False", "ContentDeleted", "All content successfully deleted, may be waiting on finalization")
    counts = [f"{resource} has {count} resource instances" for resource, count in sorted(content.remaining.items())]
    holders = [f"{finalizer} in {count} resource instances" for finalizer, count in sorted(content.finalizers.items())]
    some_left = ("True", "SomeResourcesRemain", "Some resources are remaining: " + ", ".join(counts))
    none_left = ("False", "ContentRemoved", "All content successfully removed")
    held = ("True", "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: " + ", ".join(holders))
    free = ("False", "ContentHasNoFinalizers", "All content-preserving finalizers finished")
    return [
        ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", "All resources successfully discovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ("NamespaceDeletionContentFailure", *(failed if content.errors else deleted)),
        ("NamespaceContentRemaining", *(some_left if counts else none_left)),
        ("NamespaceFinalizersRemaining", *(held if holders else free)),
    ]
