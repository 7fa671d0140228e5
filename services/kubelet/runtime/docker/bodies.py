"""The bodies of the engine's create calls. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.kubelet.runtime.docker.labels import container_labels, sandbox_labels
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.port import ContainerConfig, Mount, PodRef, SandboxConfig

CPU_PERIOD_MICROS = 100_000


def sandbox_name(pod: PodRef, attempt: int) -> str:
    return f"k8s_POD_{pod.name}_{pod.namespace}_{pod.uid}_{attempt}"


def container_name(config: ContainerConfig) -> str:
    pod = config.pod
    return f"k8s_{config.name}_{pod.name}_{pod.namespace}_{pod.uid}_{config.attempt}"


def sandbox_body(config: SandboxConfig, ip: str, image: str, settings: DockerSettings, own: Mapping[str, str]) -> dict[str, Any]:
    """The sandbox: nothing but a pause process that holds the pod's namespaces. ``own`` labels name cluster and node."""
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in config.ports:
        key = f"{port.container_port}/{port.protocol.lower()}"
        bindings.setdefault(key, []).append({"HostIp": port.host_ip, "HostPort": str(port.host_port)})
    host: dict[str, Any] = {
        "NetworkMode": "host" if config.host_network else settings.network,
        "IpcMode": "host" if config.host_ipc else "shareable",
        "PidMode": "host" if config.host_pid else "",
        "LogConfig": {"Type": "none"},
        "CpuShares": 2,
        "ReadonlyRootfs": True,
        "SecurityOpt": ["no-new-privileges"],
        "CapDrop": ["ALL"],
        "PortBindings": bindings,
        "Sysctls": dict(config.sysctls),
    }
    body: dict[str, Any] = {
        "Image": image,
        "Labels": {**own, **config.labels, **sandbox_labels(config, ip)},
        "ExposedPorts": {key: {} for key in bindings},
        "HostConfig": host,
        "StopSignal": "SIGKILL",
    }
    if not config.host_network:
        body["Hostname"] = config.hostname
        body["NetworkingConfig"] = {"EndpointsConfig": {settings.network: {"IPAMConfig": {"IPv4Address": ip}}}}
    return body


def container_body(config: ContainerConfig, image: str, settings: DockerSettings, own: Mapping[str, str]) -> dict[str, Any]:
    """A container in its pod's namespaces."""
    sandbox = f"container:{config.sandbox_id}"
    security = (["no-new-privileges"] if config.no_new_privileges else []) + (["seccomp=unconfined"] if config.unconfined_seccomp else [])
    host: dict[str, Any] = {
        "NetworkMode": sandbox,
        "IpcMode": "host" if config.host_ipc else sandbox,
        "PidMode": "host" if config.host_pid else sandbox if config.share_process_namespace else "",
        "UTSMode": "host" if config.host_network else "",
        "Binds": [_bind(mount) for mount in config.mounts],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": settings.log_max_size, "max-file": str(settings.log_max_files)}},
        "CpuShares": config.cpu_shares,
        "OomScoreAdj": config.oom_score_adj,
        "Privileged": config.privileged,
        "CapAdd": list(config.cap_add),
        "CapDrop": list(config.cap_drop),
        "SecurityOpt": security,
        "GroupAdd": [str(group) for group in config.supplemental_groups],
        "ReadonlyRootfs": config.read_only_root,
    }
    if config.cpu_quota_micros:
        host |= {"CpuPeriod": CPU_PERIOD_MICROS, "CpuQuota": config.cpu_quota_micros}
    if config.memory_bytes:
        host |= {"Memory": config.memory_bytes, "MemorySwap": config.memory_bytes}
    body: dict[str, Any] = {
        "Image": image,
        "Labels": {**own, **container_labels(config)},
        "Env": [f"{name}={value}" for name, value in config.env],
        "OpenStdin": config.stdin,
        "StdinOnce": config.stdin_once,
        "Tty": config.tty,
        "HostConfig": host,
    }
    if config.command:
        body["Entrypoint"] = list(config.command)
        body["Cmd"] = list(config.args)
    elif config.args:
        body["Cmd"] = list(config.args)
    if config.working_dir:
        body["WorkingDir"] = config.working_dir
    if config.user:
        body["User"] = config.user
    return body


def network_body(settings: DockerSettings, gateway: str, own: Mapping[str, str]) -> dict[str, Any]:
    """The node's bridge network over its podCIDR."""
    options = {"com.docker.network.bridge.name": settings.bridge}
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


def _bind(mount: Mount) -> str:
    flags = ["ro" if mount.read_only else "rw"] + ([mount.propagation] if mount.propagation else [])
    return f"{mount.source}:{mount.target}:{','.join(flags)}"
