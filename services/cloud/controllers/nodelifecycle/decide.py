"""Node lifecycle: what becomes of a Node whose machine was switched off or removed."""

from __future__ import annotations

import enum
from datetime import datetime

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_time
from knarr.objects.conditions import is_true
from knarr.objects.copies import copy_of

SHUTDOWN = "node.cloudprovider.kubernetes.io/shutdown"


class Step(enum.Enum):
    NOTHING = "nothing"
    REMOVE = "remove"
    TAINT = "taint"
    UNTAINT = "untaint"


def is_ready(node: core.Node) -> bool:
    return is_true(node.status, "Ready")


def has_taint(node: core.Node) -> bool:
    return any(taint.key == SHUTDOWN for taint in node.spec.taints)


def decide(node: core.Node, state: cloud.InstanceState | None) -> Step:
    """``state`` is None for a node that is ready: its machine lives, whatever anybody says."""
    if is_ready(node):
        return Step.UNTAINT if has_taint(node) else Step.NOTHING
    if state == cloud.INSTANCE_STATE_GONE:
        return Step.REMOVE
    if state == cloud.INSTANCE_STATE_SHUT_DOWN:
        return Step.NOTHING if has_taint(node) else Step.TAINT
    if state == cloud.INSTANCE_STATE_RUNNING and has_taint(node):
        return Step.UNTAINT
    return Step.NOTHING


def tainted(node: core.Node, now: datetime) -> core.Node:
    changed = copy_of(node)
    changed.spec.taints.add(key=SHUTDOWN, effect="NoSchedule", time_added=to_time(now))
    return changed


def untainted(node: core.Node) -> core.Node:
    changed = copy_of(node)
    del changed.spec.taints[:]
    changed.spec.taints.extend(taint for taint in node.spec.taints if taint.key != SHUTDOWN)
    return changed
