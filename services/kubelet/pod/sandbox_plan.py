"""A sandbox's plan, from the pod's spec. Pure."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.sysctls import dotted
from services.kubelet.pod.names import hostname_of
from services.kubelet.pod.resources import shares_of
from services.kubelet.pod.spec import ref_of
from services.kubelet.runtime.plan import SandboxPlan


def sandbox_plan(pod: core.Pod, attempt: int, domain: str, handler: str = "", cgroup_parent: str = "") -> SandboxPlan:
    """The sandbox of a pod in the cluster's ``domain``, run by a ``handler`` of its engine in the control group ``cgroup_parent``. Its host
    ports are the proxy's business. Raises NameTooLong."""
    return SandboxPlan(
        pod=ref_of(pod),
        attempt=attempt,
        hostname=hostname_of(pod, domain),
        host_network=pod.spec.host_network,
        host_pid=pod.spec.host_pid,
        host_ipc=pod.spec.host_ipc,
        sysctls={dotted(entry.name): entry.value for entry in pod.spec.security_context.sysctls},
        handler=handler,
        cgroup_parent=cgroup_parent,
        cpu_shares=shares_of(pod.spec.overhead["cpu"].string if "cpu" in pod.spec.overhead else "0"),
    )
