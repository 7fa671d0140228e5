"""The pod's status as Kubernetes reports it: spec, observation and facts in, PodStatus out. Pure.

Empty structs are left out, as the API server leaves them out: a status that comes back as it was
written is not written again.
"""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_time
from knarr.objects.keys import is_deleting
from knarr.objects.pods import ephemeral_containers, is_finished
from knarr.objects.qos import qos_class
from services.kubelet.pod.conditions import set_conditions
from services.kubelet.pod.container_status import container_status, ephemeral_status
from services.kubelet.pod.phase import failed_init, has_finished
from services.kubelet.pod.view import StatusView


def pod_status(view: StatusView) -> core.PodStatus:
    """The whole status to write; what others own in the old one (foreign conditions …) is kept."""
    pod, old = view.pod, view.pod.status
    if view.facts.refused or _was_refused(view):
        return _refused(view)
    status = core.PodStatus(
        observed_generation=pod.metadata.generation,
        nominated_node_name=old.nominated_node_name,
        qos_class=old.qos_class or qos_class(pod.spec),
        host_ip=view.host_ip,
    )
    status.host_ips.add(ip=view.host_ip)
    status.start_time.CopyFrom(old.start_time if old.HasField("start_time") else to_time(view.facts.seen_at))
    _addresses(view, status)
    status.init_container_statuses.extend(container_status(view, spec, init=True) for spec in pod.spec.init_containers)
    status.container_statuses.extend(container_status(view, spec, init=False) for spec in pod.spec.containers)
    status.ephemeral_container_statuses.extend(ephemeral_status(view, spec) for spec in ephemeral_containers(pod.spec))
    _phase(view, status)
    set_conditions(view, status)
    return status


def _was_refused(view: StatusView) -> bool:
    """Failed before any of its containers was made: by the kubelet that ran here before."""
    return view.pod.status.phase == "Failed" and not view.pod.status.container_statuses and not view.observation.containers


def _refused(view: StatusView) -> core.PodStatus:
    """The status of a pod that the node never took."""
    old = view.pod.status
    reason, message = view.facts.verdict or (old.reason, old.message)
    status = core.PodStatus(phase="Failed", reason=reason, message=message, qos_class=old.qos_class or qos_class(view.pod.spec))
    status.observed_generation = view.pod.metadata.generation
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
    pod, facts = view.pod, view.facts
    if facts.verdict is not None:
        status.phase, status.reason, status.message = "Failed", *facts.verdict
    elif is_finished(pod):
        status.phase, status.reason, status.message = pod.status.phase, pod.status.reason, pod.status.message
    else:
        status.phase = _computed_phase(view, status)


def _computed_phase(view: StatusView, status: core.PodStatus) -> str:
    pod, observation = view.pod, view.observation
    if failed_init(pod, observation):
        return "Failed"
    if has_finished(pod, observation, view.facts) or (is_deleting(pod) and _all_ended(status)):
        return "Failed" if any(found.state.terminated.exit_code for found in status.container_statuses) else "Succeeded"
    for found in status.container_statuses:
        if found.state.HasField("waiting") and not found.last_state.HasField("terminated"):
            return "Pending"
    return "Running" if status.container_statuses else "Pending"


def _all_ended(status: core.PodStatus) -> bool:
    """Nothing is started again in a pod that is being deleted: what has ended is final."""
    return all(found.state.HasField("terminated") for found in status.container_statuses)
