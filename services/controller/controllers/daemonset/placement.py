"""Where the pods of a DaemonSet belong, and what makes the scheduler put them there."""

from __future__ import annotations

from dataclasses import dataclass

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.copies import copy_of
from knarr.objects.node_selection import matches_pod, only_on
from knarr.objects.tolerations import (
    DISK_PRESSURE,
    MEMORY_PRESSURE,
    NETWORK_UNAVAILABLE,
    NO_EXECUTE,
    NO_SCHEDULE,
    NOT_READY,
    PID_PRESSURE,
    UNREACHABLE,
    UNSCHEDULABLE,
    untolerated,
)
from services.controller.workloads.history import POD_REVISION
from services.controller.workloads.pods import pod_from_template

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
# The label of a pod that has it.
POD_TEMPLATE_GENERATION = "pod-template-generation"
# What a node's own pods do not go for, or stay away for.
_TOLERATED = (
    (NOT_READY, NO_EXECUTE),
    (UNREACHABLE, NO_EXECUTE),
    (DISK_PRESSURE, NO_SCHEDULE),
    (MEMORY_PRESSURE, NO_SCHEDULE),
    (PID_PRESSURE, NO_SCHEDULE),
    (UNSCHEDULABLE, NO_SCHEDULE),
)


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a pod is to ``start`` on a node, and whether one that is there may ``stay``."""

    start: bool
    stay: bool


FITS, STAYS, NOT_FIT = Fit(True, True), Fit(False, True), Fit(False, False)


def fit(daemon_set: apps.DaemonSet, node: core.Node) -> Fit:
    """By the template's node name, selector, required node affinity and tolerations, those included that its pods are given.

    A taint that came later keeps new pods away; only one with the effect NoExecute ends those that are there.
    """
    spec = daemon_set.spec.template.spec
    if spec.node_name not in ("", node.metadata.name) or not matches_pod(spec, node):
        return NOT_FIT
    if not node.spec.taints:
        return FITS
    given = tolerations(spec)
    if untolerated(given, node.spec.taints, (NO_EXECUTE,)):
        return NOT_FIT
    return STAYS if untolerated(given, node.spec.taints, (NO_SCHEDULE,)) else FITS


def tolerations(spec: core.PodSpec) -> list[core.Toleration]:
    """Those of the template, and what every pod of a DaemonSet tolerates however long it takes."""
    found = [copy_of(toleration) for toleration in spec.tolerations]
    host = ((NETWORK_UNAVAILABLE, NO_SCHEDULE),) if spec.host_network else ()
    for key, effect in (*_TOLERATED, *host):
        added = core.Toleration(key=key, operator="Exists", effect=effect)
        same = next((known for known in found if _are_alike(known, added)), None)
        if same is None:
            found.append(added)
        else:
            same.ClearField("toleration_seconds")
    return found


def new_pod(daemon_set: apps.DaemonSet, node: str, revision: str) -> core.Pod:
    """The pod of a node, of the template whose hash is ``revision``. The scheduler binds it: it may go to that node alone."""
    pod = pod_from_template(daemon_set.spec.template, daemon_set)
    generation = daemon_set.metadata.annotations.get(TEMPLATE_GENERATION, "")
    if generation.isdecimal():
        pod.metadata.labels[POD_TEMPLATE_GENERATION] = generation
    pod.metadata.labels[POD_REVISION] = revision
    given = tolerations(pod.spec)
    del pod.spec.tolerations[:]
    pod.spec.tolerations.extend(given)
    pod.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution.CopyFrom(only_on(node))
    return pod


def _are_alike(one: core.Toleration, other: core.Toleration) -> bool:
    return (one.key, one.operator, one.effect, one.value) == (other.key, other.operator, other.effect, other.value)
