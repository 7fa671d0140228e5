"""The pod's status as Kubernetes reports it: spec, observation and facts in, PodStatus out. Pure.

Empty structs are left out, as the API server leaves them out: a status that comes back as it was
written is not written again.
"""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_time
from knarr.objects.copies import copy_field
from knarr.objects.keys import is_deleting
from knarr.objects.pods import container_statuses, ephemeral_containers, is_finished
from knarr.objects.qos import qos_of
from knarr.objects.totals import fill, requests_of
from services.kubelet.pod.conditions import ENDED, set_conditions
from services.kubelet.pod.container_status import container_status, end_waiting, ephemeral_status
from services.kubelet.pod.phase import failed_init, has_finished
from services.kubelet.pod.view import StatusView
from services.kubelet.runtime.port import RUNNING

MAX_MESSAGES_BYTES = 12 * 1024


_OF_OTHERS = ("nominated_node_name", "resource_claim_statuses", "extended_resource_claim_status")


def pod_status(view: StatusView) -> core.PodStatus:
    """The whole status to write; what others own in the old one (foreign conditions …) is kept."""
    pod, old = view.pod, view.pod.status
    if view.facts.refused or _was_refused(view):
        return _refused(view)
    status = core.PodStatus(
        observed_generation=pod.metadata.generation,
        qos_class=qos_of(pod),
        host_ip=view.host_ip,
    )
    keep_others(status, old)
    status.host_ips.add(ip=view.host_ip)
    status.start_time.CopyFrom(old.start_time if old.HasField("start_time") else to_time(view.facts.seen_at))
    _addresses(view, status)
    status.init_container_statuses.extend(container_status(view, spec, init=True) for spec in pod.spec.init_containers)
    status.container_statuses.extend(container_status(view, spec, init=False) for spec in pod.spec.containers)
    status.ephemeral_container_statuses.extend(ephemeral_status(view, spec) for spec in ephemeral_containers(pod.spec))
    _shorten_messages(status)
    if pod.spec.HasField("resources"):
        status.resources.CopyFrom(pod.spec.resources)
        fill(status.allocated_resources, requests_of(pod.spec))
    _phase(view, status)
    if status.phase in ENDED and not _runs(view):
        end_waiting(view.pod, status)
    set_conditions(view, status)
    _hold(view, status)
    return status


def keep_others(status: core.PodStatus, old: core.PodStatus) -> None:
    """Takes over what the scheduler and controllers say in a pod's status; a node may not change it."""
    for field in _OF_OTHERS:
        copy_field(field, status, old)


def _was_refused(view: StatusView) -> bool:
    """Failed before any of its containers was made: by the kubelet that ran here before."""
    return view.pod.status.phase == "Failed" and not view.pod.status.container_statuses and not view.observation.containers


def _refused(view: StatusView) -> core.PodStatus:
    """The status of a pod that the node never took."""
    old = view.pod.status
    reason, message = view.facts.verdict or (old.reason, old.message)
    status = core.PodStatus(phase="Failed", reason=reason, message=message, qos_class=qos_of(view.pod))
    status.observed_generation = view.pod.metadata.generation
    keep_others(status, old)
    status.start_time.CopyFrom(old.start_time if old.HasField("start_time") else to_time(view.facts.seen_at))
    status.conditions.extend(old.conditions)
    return status


def _addresses(view: StatusView, status: core.PodStatus) -> None:
    sandbox = view.observation.sandbox
    if view.pod.spec.host_network:
        ip = view.host_ip if sandbox is not None else ""
    else:
        ip = sandbox.ip if sandbox is not None and sandbox.ready else view.pod.status.pod_ip if sandbox is None else ""
    if ip:
        status.pod_ip = ip
        status.pod_ips.add(ip=ip)


def _phase(view: StatusView, status: core.PodStatus) -> None:
    old = view.pod.status
    if is_finished(view.pod):
        status.phase, status.reason, status.message = old.phase, old.reason, old.message
        return
    if view.facts.verdict is not None:
        status.phase, status.reason, status.message = "Failed", *view.facts.verdict
    else:
        status.phase = _computed_phase(view, status)


def _hold(view: StatusView, status: core.PodStatus) -> None:
    """No pod is over while something of it runs: whoever replaces it relies on that. That it is not ready any more is told at once."""
    old = view.pod.status
    if status.phase in ENDED and not is_finished(view.pod) and _runs(view):
        status.phase, status.reason, status.message = old.phase or "Pending", old.reason, old.message


def _computed_phase(view: StatusView, status: core.PodStatus) -> str:
    pod, observation = view.pod, view.observation
    if not view.starting_anew and failed_init(pod, observation):
        return "Failed"
    if has_finished(pod, observation, view.facts) or (is_deleting(pod) and _all_ended(status) and not _runs(view)):
        return "Failed" if any(found.state.terminated.exit_code for found in status.container_statuses) else "Succeeded"
    for found in status.container_statuses:
        if found.state.HasField("waiting") and not found.last_state.HasField("terminated"):
            return "Pending"
    return "Running" if status.container_statuses else "Pending"


def _runs(view: StatusView) -> bool:
    return any(container.state == RUNNING for container in view.observation.containers)


def _all_ended(status: core.PodStatus) -> bool:
    """Nothing is started again in a pod that is being deleted: what has ended is final."""
    return all(found.state.HasField("terminated") for found in status.container_statuses)


def _shorten_messages(status: core.PodStatus) -> None:
    """What all containers of a pod say at their ends has room for 12 KiB: each gets its part of it."""
    told = container_statuses(status)
    limit = MAX_MESSAGES_BYTES // max(len(told), 1)
    for found in told:
        for state in (found.state, found.last_state):
            if len(state.terminated.message) * 4 > limit and state.HasField("terminated"):
                state.terminated.message = state.terminated.message.encode()[:limit].decode(errors="ignore")
