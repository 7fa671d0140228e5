"""Whether a pod would have on this node what protects it, or the node from it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.pods import every_container
from knarr.objects.sysctls import IPC, NETWORK, dotted, namespace_of
from services.kubelet.node.view import HostSecurity

# What a pod may set without harm to others on its node; Kubernetes' list.
SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
# The namespaces in Kubernetes' words.
NAMESPACE_WORDS = {IPC: "ipc", NETWORK: "net"}

Context = core.PodSecurityContext | core.SecurityContext


@dataclass(frozen=True, slots=True)
class Refusal:
    """Reason and message, as the pod's event and status show them."""

    reason: str
    message: str


def unprotected(pod: core.Pod, host: HostSecurity) -> Refusal | None:
    """Why a protection that the pod asks for would be missing; None: none would."""
    if pod.spec.os.name not in ("", "linux"):
        return Refusal("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    contexts = list(_contexts(pod.spec))
    if not host.app_armor and any(one.app_armor_profile.type not in ("", "Unconfined") for one in contexts):
        return Refusal("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")
    if not host.selinux and any(_confines(one.se_linux_options) for one in contexts):
        return Refusal("SELinux", "Cannot enforce SELinux: SELinux is not enabled on the host")
    return next((Refusal("SysctlForbidden", f"forbidden sysctl: {words}") for words in _forbidden_sysctls(pod.spec, host)), None)


def unheeded(pod: core.Pod, host: HostSecurity) -> Refusal | None:
    """What a pod asks for that has no meaning on this node, though the pod may run there, as in Kubernetes; None: nothing."""
    if not host.selinux and any(one.se_linux_options.level for one in _contexts(pod.spec)):
        return Refusal("SELinuxLevelIgnored", "The level of seLinuxOptions has no effect: SELinux is not enabled on the host")
    return None


def _confines(options: core.SELinuxOptions) -> bool:
    """A level alone tells containers of one type apart, and says nothing of what they may do."""
    return bool(options.type or options.role or options.user)


def _contexts(spec: core.PodSpec) -> Iterator[Context]:
    yield spec.security_context
    for container in every_container(spec):
        yield container.security_context


def _forbidden_sysctls(spec: core.PodSpec, host: HostSecurity) -> Iterator[str]:
    shared = {IPC: spec.host_ipc, NETWORK: spec.host_network}
    for entry in spec.security_context.sysctls:
        name = dotted(entry.name)
        namespace = namespace_of(name)
        if name not in SAFE_SYSCTLS and not any(_allows(pattern, name) for pattern in host.unsafe_sysctls):
            yield f'"{entry.name}" not allowlisted'
        elif shared.get(namespace):
            yield f'"{entry.name}" not allowed with host {NAMESPACE_WORDS[namespace]} enabled'


def _allows(pattern: str, name: str) -> bool:
    """A name, or how names begin before ``*``."""
    wanted = dotted(pattern)
    return name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted


def check_unsafe_sysctls(patterns: tuple[str, ...]) -> str:
    """Why these cannot be allowed, in words for whoever starts the node; empty: they can. The kernel must keep each for a namespace."""
    for pattern in patterns:
        if not namespace_of(dotted(pattern.removesuffix("*"))):
            return f'the sysctl "{pattern}" is not known to be namespaced; net.*, kernel.shm*, kernel.msg* and fs.mqueue.* are'
    return ""
