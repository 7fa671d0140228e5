"""A pod's /etc/hosts and /etc/resolv.conf, written into its directory."""

from __future__ import annotations

from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.pod.directory import PodDirectory
from services.kubelet.pod.names import hosts_file
from services.kubelet.pod.resolver import node_resolver, resolver_of
from services.kubelet.runtime.port import Sandbox
from services.kubelet.settings import KubeletSettings

NODE_HOSTS = Path("/etc/hosts")


def write_name_files(pod: core.Pod, sandbox: Sandbox, directory: PodDirectory, settings: KubeletSettings) -> list[str]:
    """/etc/hosts and /etc/resolv.conf of the pod; answers in words what had to be left out of the latter."""
    node_hosts = _text(NODE_HOSTS) if pod.spec.host_network else ""
    directory.write(directory.hosts, hosts_file(pod, sandbox.ip or settings.node_ip, settings.cluster_domain, node_hosts))
    resolver, left_out = resolver_of(pod, node_resolver(settings.resolv_conf), settings.cluster_dns, settings.cluster_domain)
    directory.write(directory.resolv_conf, str(resolver))
    return left_out


def _text(path: Path) -> str:
    """Of a file of the node; empty when it has none."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
