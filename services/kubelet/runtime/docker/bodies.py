"""The bodies of the engine's create calls. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.kubelet.cpu import PERIOD_MICROS, UNLIMITED
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.labels import container_labels, sandbox_labels
from services.kubelet.runtime.plan import ContainerPlan, Device, Limits, Mount, Namespaces, PodRef, SandboxPlan, Security

# The engine's word for a namespace without any interface but its loopback.
NO_NETWORK = "none"
# … and for the one that it is in itself.
HOST = "host"
BRIDGE_OPTION = "com.docker.network.bridge.name"


def sandbox_name(pod: PodRef, attempt: int) -> str:
    return f"k8s_POD_{pod.name}_{pod.namespace}_{pod.uid}_{attempt}"


def container_name(plan: ContainerPlan) -> str:
    pod = plan.pod
    return f"k8s_{plan.name}_{pod.name}_{pod.namespace}_{pod.uid}_{plan.attempt}"


def node_network(settings: DockerSettings) -> str:
    """The engine's word for the node's own network namespace."""
    return f"container:{settings.network_of}" if settings.network_of else HOST


def sandbox_body(
    plan: SandboxPlan, ip: str, image: str, network: str, own: Mapping[str, str], *, unknown: bool = False, node: str = HOST
) -> dict[str, Any]:
    """The sandbox: nothing but a pause process that holds the pod's namespaces. ``network`` is what the engine is to join it to, by ``ip``,
    or ``NO_NETWORK``, where it may know nothing at all of its namespace (``unknown``); ``own`` labels name cluster and node; ``node`` is
    the ``node_network``."""
    host: dict[str, Any] = {
        "NetworkMode": node if plan.host_network else network,
        "IpcMode": "host" if plan.host_ipc else "shareable",
        "PidMode": "host" if plan.host_pid else "",
        "LogConfig": {"Type": "none"},
        "CpuShares": plan.cpu_shares,
        "ReadonlyRootfs": True,
        "SecurityOpt": ["no-new-privileges"],
        "CapDrop": ["ALL"],
        "Sysctls": dict(plan.sysctls),
        **_handler(plan.handler),
        **_group(plan.cgroup_parent),
    }
    body: dict[str, Any] = {
        "Image": image,
        "Labels": {**own, **plan.labels, **sandbox_labels(plan, ip)},
        "HostConfig": host,
        "StopSignal": "SIGKILL",
    }
    if unknown and host["NetworkMode"] == NO_NETWORK:
        body["NetworkDisabled"] = True
    if not plan.host_network:
        body["Hostname"] = plan.hostname
    if not plan.host_network and network != NO_NETWORK:
        body["NetworkingConfig"] = {"EndpointsConfig": {network: {"IPAMConfig": {"IPv4Address": ip}}}}
    return body


def container_body(plan: ContainerPlan, image: str, settings: DockerSettings, own: Mapping[str, str]) -> dict[str, Any]:
    """A container in its pod's namespaces. ``image`` is its id; ``own`` labels name cluster and node."""
    process = plan.process
    body: dict[str, Any] = {
        "Image": image,
        "Labels": {**own, **container_labels(plan)},
        "Env": [f"{name}={value}" for name, value in process.env],
        "OpenStdin": process.stdin,
        "StdinOnce": process.stdin_once,
        "Tty": process.tty,
        "HostConfig": _host_config(plan, settings),
    }
    if process.command:
        body["Entrypoint"] = list(process.command)
        body["Cmd"] = list(process.args)
    elif process.args:
        body["Cmd"] = list(process.args)
    if process.working_dir:
        body["WorkingDir"] = process.working_dir
    if plan.security.user:
        body["User"] = plan.security.user
    if plan.stop_signal:
        body["StopSignal"] = plan.stop_signal
    return body


def _host_config(plan: ContainerPlan, settings: DockerSettings) -> dict[str, Any]:
    # The one driver that keeps bytes which are no UTF-8 as they are.
    log_config = {"max-size": str(settings.log_max_bytes), "max-file": str(settings.log_max_files), "compress": "false"}
    return {
        **_namespaces(plan.namespaces, f"container:{plan.sandbox_id}", node_network(settings)),
        "Binds": [_bind(mount) for mount in plan.mounts if not _has_colon(mount)],
        "Mounts": [_mount(mount) for mount in plan.mounts if _has_colon(mount)],
        "Devices": [_device(device) for device in plan.devices],
        **_cdi(plan.cdi_devices),
        "LogConfig": {"Type": "local", "Config": log_config},
        **_security(plan.security),
        **_limits(plan.limits),
        **_handler(plan.handler),
        **_group(plan.cgroup_parent),
    }


def _cdi(names: Sequence[str]) -> dict[str, Any]:
    return {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": list(names)}]} if names else {}


def _handler(name: str) -> dict[str, str]:
    """The engine's default where nobody says otherwise."""
    return {"Runtime": name} if name else {}


def _group(parent: str) -> dict[str, str]:
    return {"CgroupParent": parent} if parent else {}


def _namespaces(wanted: Namespaces, sandbox: str, node: str) -> dict[str, str]:
    return {
        "NetworkMode": sandbox,
        "IpcMode": "host" if wanted.host_ipc else sandbox,
        "PidMode": _processes(wanted, sandbox),
        # Elsewhere the engine copies the name of whose network it is.
        "UTSMode": HOST if wanted.host_network and node == HOST else "",
    }


def _processes(wanted: Namespaces, sandbox: str) -> str:
    if wanted.host_pid:
        return "host"
    if wanted.share_process:
        return sandbox
    return f"container:{wanted.process_of}" if wanted.process_of else ""


def _security(wanted: Security) -> dict[str, Any]:
    options = ["no-new-privileges"] if wanted.no_new_privileges else []
    if wanted.seccomp is not None:
        options.append(f"seccomp={wanted.seccomp.text}")
    elif wanted.unconfined_seccomp:
        options.append("seccomp=unconfined")
    options += [f"apparmor={wanted.app_armor}"] if wanted.app_armor else []
    options += [f"label={part}" for part in wanted.selinux]
    proc: dict[str, list[str]] = {"MaskedPaths": [], "ReadonlyPaths": []} if wanted.unmasked_proc else {}
    return {
        **proc,
        "Privileged": wanted.privileged,
        "CapAdd": list(wanted.cap_add),
        "CapDrop": list(wanted.cap_drop),
        "SecurityOpt": options,
        "GroupAdd": [str(group) for group in wanted.supplemental_groups],
        "ReadonlyRootfs": wanted.read_only_root,
    }


def _limits(wanted: Limits) -> dict[str, Any]:
    return {"OomScoreAdj": wanted.oom_score_adj, **_changeable(wanted), **pin_body(wanted.cpuset)}


def update_body(wanted: Limits) -> dict[str, int]:
    """Of the engine's update call, which leaves alone what is not said."""
    return {"CpuPeriod": PERIOD_MICROS, "CpuQuota": UNLIMITED, **_changeable(wanted)}


def pin_body(cpuset: str) -> dict[str, str]:
    """The processors of a container; empty where it is told none."""
    return {"CpusetCpus": cpuset} if cpuset else {}


def _changeable(wanted: Limits) -> dict[str, int]:
    """What may change while a container runs."""
    result = {"CpuShares": wanted.cpu_shares}
    if wanted.cpu_quota_micros:
        result |= {"CpuPeriod": PERIOD_MICROS, "CpuQuota": wanted.cpu_quota_micros}
    if wanted.memory_bytes:
        result |= {"Memory": wanted.memory_bytes, "MemorySwap": wanted.memory_bytes + wanted.swap_bytes}
    return result


def network_body(settings: DockerSettings, gateway: str, own: Mapping[str, str]) -> dict[str, Any]:
    """The node's bridge network over its podCIDR."""
    options = {BRIDGE_OPTION: settings.bridge}
    if settings.mtu:
        options["com.docker.network.driver.mtu"] = str(settings.mtu)
    return {
        "Name": settings.network,
        "Driver": "bridge",
        "CheckDuplicate": True,
        "IPAM": {"Driver": "default", "Config": [{"Subnet": settings.pod_cidr, "Gateway": gateway}]},
        "Options": options,
        "Labels": dict(own),
    }


def _has_colon(mount: Mount) -> bool:
    """Whether a bind cannot be written in one word. There the engine makes a source that is missing, as Kubernetes wants it."""
    return ":" in mount.source + mount.target


def _mount(mount: Mount) -> dict[str, Any]:
    options = {"BindOptions": {"Propagation": mount.propagation}} if mount.propagation else {}
    return {"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only, **options}


def _device(device: Device) -> dict[str, str]:
    return {"PathOnHost": device.source, "PathInContainer": device.target, "CgroupPermissions": device.access}


def _bind(mount: Mount) -> str:
    flags = ["ro" if mount.read_only else "rw"] + ([mount.propagation] if mount.propagation else [])
    return f"{mount.source}:{mount.target}:{','.join(flags)}"
