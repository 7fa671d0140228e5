"""The checks of the level ``baseline``: what gives a pod a known way out. Each answers what is wrong, or nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.admission.pod_security.subject import Subject, containers, plural, quoted, setters

APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP_POD, SECCOMP_CONTAINER = "seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/"
CONFINED = frozenset({"RuntimeDefault", "Localhost"})
CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP",
        "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
SE_LINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t"})
SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    }
)  # fmt: skip
SYSCTLS_27 = SYSCTLS | {"net.ipv4.ip_local_reserved_ports"}
SYSCTLS_29 = SYSCTLS_27 | {
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip
SYSCTLS_32 = SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}
SYSCTLS_37 = SYSCTLS_32 | {"net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"}


def app_armor(pod: Subject) -> str:
    """Fields, and the annotations that there were before them."""
    values, annotated = _app_armor_values(pod), _app_armor_annotations(pod)
    who = setters(_is_unconfined(pod.spec.security_context), pod.those(lambda container: _is_unconfined(container.security_context)))
    if annotated:
        who = " and ".join(filter(None, (who, plural("annotation", "annotations", annotated))))
    return f"{who} must not set AppArmor profile type to {quoted([*values, *annotated])}" if who else ""


def app_armor_reason(pod: Subject) -> str:
    return plural("forbidden AppArmor profile", "forbidden AppArmor profiles", [*_app_armor_values(pod), *_app_armor_annotations(pod)])


def _app_armor_values(pod: Subject) -> list[str]:
    return sorted({context.app_armor_profile.type for context in pod.contexts if _is_unconfined(context)})


def _app_armor_annotations(pod: Subject) -> list[str]:
    return sorted(
        f'{key}="{value}"'
        for key, value in pod.annotations.items()
        if key.startswith(APP_ARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    )


def _is_unconfined(context: core.PodSecurityContext | core.SecurityContext) -> bool:
    return context.HasField("app_armor_profile") and context.app_armor_profile.type not in CONFINED


def capabilities(pod: Subject) -> str:
    def added(container: core.Container) -> set[str]:
        return set(container.security_context.capabilities.add) - CAPABILITIES

    bad = pod.those(lambda container: bool(added(container)))
    names = sorted(set().union(*map(added, pod.containers)))
    return f"{containers(bad)} must not include {quoted(names)} in securityContext.capabilities.add" if bad else ""


def host_namespaces(pod: Subject) -> str:
    spec = pod.spec
    shared = (("hostIPC", spec.host_ipc), ("hostNetwork", spec.host_network), ("hostPID", spec.host_pid))
    return ", ".join(f"{name}=true" for name, found in shared if found)


def host_paths(pod: Subject) -> str:
    names = [volume.name for volume in pod.spec.volumes if volume.volume_source.HasField("host_path")]
    return f"{plural('volume', 'volumes', names)} {quoted(names)}" if names else ""


def host_ports(pod: Subject) -> str:
    bad = pod.those(lambda container: any(port.host_port for port in container.ports))
    ports = sorted({str(port.host_port) for container in pod.containers for port in container.ports if port.host_port})
    use, port = plural("uses", "use", bad), plural("hostPort", "hostPorts", ports)
    return f"{containers(bad)} {use} {port} {', '.join(ports)}" if bad else ""


def probe_hosts(pod: Subject) -> str:
    """Somebody's probes would ask what only its node reaches."""
    found = {container.name: set(_hosts(container)) - {""} for container in pod.containers}
    bad = sorted(name for name, hosts in found.items() if hosts)
    hosts = sorted(set().union(*found.values()))
    words = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts)
    return f"{containers(bad)} {plural('uses', 'use', bad)} {words} {quoted(hosts)}" if bad else ""


def _hosts(container: core.Container) -> Iterator[str]:
    probes = (container.liveness_probe.handler, container.readiness_probe.handler, container.startup_probe.handler)
    for handler in (*probes, container.lifecycle.post_start, container.lifecycle.pre_stop):
        yield from (handler.http_get.host, handler.tcp_socket.host)


def privileged(pod: Subject) -> str:
    bad = pod.those(lambda container: container.security_context.privileged)
    return f"{containers(bad)} must not set securityContext.privileged=true" if bad else ""


def proc_mount(pod: Subject) -> str:
    def is_bad(container: core.Container) -> bool:
        return container.security_context.HasField("proc_mount") and container.security_context.proc_mount != "Default"

    bad = pod.those(is_bad)
    kinds = sorted({container.security_context.proc_mount for container in pod.containers if is_bad(container)})
    return f"{containers(bad)} must not set securityContext.procMount to {quoted(kinds)}" if bad else ""


def proc_mount_35(pod: Subject) -> str:
    return "" if pod.has_own_users else proc_mount(pod)


def se_linux(pod: Subject, types: frozenset[str] = SE_LINUX_TYPES) -> str:
    def is_bad(context: core.PodSecurityContext | core.SecurityContext) -> bool:
        found = context.se_linux_options
        return found.type not in types or bool(found.user) or bool(found.role)

    options = [context.se_linux_options for context in pod.contexts if is_bad(context)]
    kinds = sorted({found.type for found in options} - types)
    told = [f"{plural('type', 'types', kinds)} {quoted(kinds)}"] if kinds else []
    told += [f"{name} may not be set" for name in ("user", "role") if any(getattr(found, name) for found in options)]
    who = setters(is_bad(pod.spec.security_context), pod.those(lambda container: is_bad(container.security_context)))
    return f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(told)}" if who else ""


def se_linux_31(pod: Subject) -> str:
    return se_linux(pod, SE_LINUX_TYPES | {"container_engine_t"})


def seccomp_annotations(pod: Subject) -> str:
    """Before there were fields."""
    keys = [SECCOMP_POD, *(SECCOMP_CONTAINER + container.name for container in pod.containers)]
    found = {key: pod.annotations[key] for key in keys if key in pod.annotations}
    bad = sorted(
        f'{key}="{value}"'
        for key, value in found.items()
        if value not in ("runtime/default", "docker/default") and not value.startswith("localhost/")
    )
    return f"forbidden {plural('annotation', 'annotations', bad)} {', '.join(bad)}" if bad else ""


def seccomp(pod: Subject) -> str:
    def is_bad(context: core.PodSecurityContext | core.SecurityContext) -> bool:
        return context.HasField("seccomp_profile") and context.seccomp_profile.type not in CONFINED

    kinds = sorted({context.seccomp_profile.type for context in pod.contexts if is_bad(context)})
    who = setters(is_bad(pod.spec.security_context), pod.those(lambda container: is_bad(container.security_context)))
    return f"{who} must not set securityContext.seccompProfile.type to {quoted(kinds)}" if who else ""


def sysctls(allowed: frozenset[str], pod: Subject) -> str:
    return ", ".join(found.name for found in pod.spec.security_context.sysctls if found.name not in allowed)


def windows_host_process(pod: Subject) -> str:
    who = setters(
        pod.spec.security_context.windows_options.host_process,
        pod.those(lambda container: container.security_context.windows_options.host_process),
    )
    return f"{who} must not set securityContext.windowsOptions.hostProcess=true" if who else ""
