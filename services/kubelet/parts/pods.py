"""How the API shows a part of a node: as the static pod that it would be elsewhere, and its status. Pure.

The pod is one of the node's own network, asks for nothing, names no ports (those it has are in use, whoever asks for them) and no account.
Its restarts are counted on from what its mirror tells, over the ends of the process that runs it: each run is known by that process and by
its number in it.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_time
from knarr.objects.conditions import set_condition
from knarr.objects.copies import copy_of
from knarr.objects.pods import CONFIG_HASH, CONFIG_SOURCE, RUNNING
from services.kubelet.parts.port import Course, End, Part

NAMESPACE = "kube-system"
# Where such a pod comes from, beside `file` and `api` of other pods.
SOURCE = "process"
# Kubernetes' own: of what a node cannot do without.
PRIORITY_CLASS, PRIORITY = "system-node-critical", 2_000_001_000
# Of a run whose end nobody saw, as a kubelet tells it of containers that a machine took along.
UNSEEN_CODE, UNSEEN = 255, "Unknown"
_RUN = re.compile(r"process://([^/]+)/[^/]+/(\d+)")


def part_pod(part: Part, node_name: str) -> core.Pod:
    """The pod by which a part is shown on a node; its uid is also its hash: one that is otherwise is another pod."""
    pod = core.Pod()
    pod.metadata.name, pod.metadata.namespace = f"{part.name}-{node_name.lower()}", NAMESPACE
    for name, value in part.labels.items():
        pod.metadata.labels[name] = value
    pod.spec.MergeFrom(
        core.PodSpec(
            node_name=node_name,
            host_network=True,
            restart_policy="Always",
            dns_policy="ClusterFirst",
            priority_class_name=PRIORITY_CLASS,
            priority=PRIORITY,
            containers=[core.Container(name=part.name, image=part.image, command=part.command, image_pull_policy="IfNotPresent")],
            tolerations=[core.Toleration(operator="Exists", effect="NoExecute")],
        )
    )
    uid = hashlib.md5(f"process:{node_name}".encode() + pod.SerializeToString(deterministic=True), usedforsecurity=False).hexdigest()
    pod.metadata.uid = pod.metadata.annotations[CONFIG_HASH] = uid
    pod.metadata.annotations[CONFIG_SOURCE] = SOURCE
    return pod


def part_status(part: Part, course: Course, before: core.PodStatus, address: str, now: datetime) -> core.PodStatus:
    """``before`` is what the mirror says so far; ``address`` the node's."""
    status = core.PodStatus(phase=RUNNING, host_ip=address, pod_ip=address, qos_class="BestEffort")
    if address:
        status.host_ips.add(ip=address)
        status.pod_ips.add(ip=address)
    status.start_time.CopyFrom(before.start_time if before.HasField("start_time") else to_time(course.began or now))
    shown = before.container_statuses[0] if before.container_statuses else core.ContainerStatus()
    status.container_statuses.append(_container(part, course, shown))
    unready = ("ContainersNotReady", f"containers with unready status: [{part.name}]")
    conditions = {
        "PodReadyToStartContainers": True,
        "Initialized": True,
        "Ready": course.ready,
        "ContainersReady": course.ready,
        "PodScheduled": True,
    }
    for condition, holds in conditions.items():
        reason, message = ("", "") if holds else unready
        set_condition(status, condition, holds, reason=reason, message=message, now=now, before=before)
    return status


def restarts(course: Course, shown: core.ContainerStatus) -> int:
    """How often the part was begun anew: what is shown, and the runs since that one."""
    run = _RUN.fullmatch(shown.container_id)
    if run is None:
        return course.number
    since = course.number - int(run[2]) if run[1] == course.process else course.number + 1
    return int(shown.restart_count) + max(since, 0)


def _container(part: Part, course: Course, shown: core.ContainerStatus) -> core.ContainerStatus:
    made = core.ContainerStatus(
        name=part.name,
        image=part.image,
        container_id=f"process://{course.process}/{part.name}/{course.number}",
        ready=course.ready,
        started=course.began is not None,
        restart_count=restarts(course, shown),
    )
    if course.began is not None:
        made.state.running.started_at.CopyFrom(to_time(course.began))
    else:
        made.state.waiting.reason = "CrashLoopBackOff"
        made.state.waiting.message = f"{part.name} has ended and is about to be begun again"
    run = _RUN.fullmatch(shown.container_id)
    if course.last is not None:
        _set_end(made.last_state.terminated, course.last)
    elif run is not None and run[1] != course.process and shown.state.HasField("running"):
        _set_unseen(made.last_state.terminated, shown, course)
    elif shown.HasField("last_state"):
        made.last_state.CopyFrom(copy_of(shown.last_state))
    return made


def _set_end(terminated: core.ContainerStateTerminated, end: End) -> None:
    terminated.exit_code, terminated.reason = end.code, "Error" if end.code else "Completed"
    terminated.message = end.words
    terminated.started_at.CopyFrom(to_time(end.began))
    terminated.finished_at.CopyFrom(to_time(end.ended))


def _set_unseen(terminated: core.ContainerStateTerminated, shown: core.ContainerStatus, course: Course) -> None:
    terminated.exit_code, terminated.reason = UNSEEN_CODE, UNSEEN
    terminated.container_id = shown.container_id
    terminated.started_at.CopyFrom(shown.state.running.started_at)
    if course.began is not None:
        terminated.finished_at.CopyFrom(to_time(course.began))
