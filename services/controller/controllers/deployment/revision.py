"""Revisions and the other annotations that a Deployment and its ReplicaSets share."""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api.apps.v1 import apps_pb2 as apps

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"
_OWN = frozenset({REVISION, HISTORY, DESIRED, MAX, "deprecated.deployment.rollback.to", "kubectl.kubernetes.io/last-applied-configuration"})


def revision_of(replica_set: apps.ReplicaSet) -> int:
    return _number(replica_set, REVISION) or 0


def desired_replicas(replica_set: apps.ReplicaSet) -> int | None:
    """The Deployment's size when this ReplicaSet was last scaled."""
    return _number(replica_set, DESIRED)


def max_replicas(replica_set: apps.ReplicaSet) -> int | None:
    return _number(replica_set, MAX)


def next_revision(old: Iterable[apps.ReplicaSet]) -> int:
    return max((revision_of(replica_set) for replica_set in old), default=0) + 1


def set_sizes(replica_set: apps.ReplicaSet, desired: int, maximum: int) -> None:
    replica_set.metadata.annotations[DESIRED] = str(desired)
    replica_set.metadata.annotations[MAX] = str(maximum)


def carry_annotations(deployment: apps.Deployment, replica_set: apps.ReplicaSet, revision: int) -> None:
    """Copies the Deployment's annotations to its current ReplicaSet and raises its revision.

    The revisions it had before stay in its history.
    """
    annotations = replica_set.metadata.annotations
    for key, value in deployment.metadata.annotations.items():
        if key not in _OWN:
            annotations[key] = value
    before = revision_of(replica_set)
    if before >= revision:
        return
    annotations[REVISION] = str(revision)
    if before:
        history = [entry for entry in annotations.get(HISTORY, "").split(",") if entry]
        if str(before) not in history:
            annotations[HISTORY] = ",".join([*history, str(before)])


def _number(replica_set: apps.ReplicaSet, key: str) -> int | None:
    text = replica_set.metadata.annotations.get(key, "")
    return int(text) if text.isdecimal() else None
