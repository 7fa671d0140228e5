"""Making a pod's directory, volumes and sandbox."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import StatusError
from knarr.objects.pods import init_and_main_containers
from services.kubelet.pod.context import NodeContext
from services.kubelet.pod.decide import SANDBOX, VOLUMES
from services.kubelet.pod.facts import PodFacts, StartFailure
from services.kubelet.pod.names import NameTooLong, hostname_of, hosts_file
from services.kubelet.pod.resolver import node_resolver, resolver_of
from services.kubelet.pod.spec import ref_of
from services.kubelet.pod.volumes import PodDirectory, VolumeError, contents
from services.kubelet.runtime.plan import PortMapping, SandboxPlan
from services.kubelet.runtime.port import RuntimeFailure, RuntimeUnavailable, Sandbox
from services.kubelet.settings import KubeletSettings

RETRY = timedelta(seconds=2)
NODE_HOSTS = Path("/etc/hosts")
log = logging.getLogger(__name__)


def sandbox_plan(pod: core.Pod, attempt: int, domain: str) -> SandboxPlan:
    """The sandbox of a pod in the cluster's ``domain``; published are the ports that name a hostPort. Raises NameTooLong."""
    ports = tuple(
        PortMapping(port.container_port, port.host_port, port.protocol or "TCP", port.host_ip)
        for spec in init_and_main_containers(pod.spec)
        for port in spec.ports
        if port.host_port and not pod.spec.host_network
    )
    return SandboxPlan(
        pod=ref_of(pod),
        attempt=attempt,
        hostname=hostname_of(pod, domain),
        host_network=pod.spec.host_network,
        host_pid=pod.spec.host_pid,
        host_ipc=pod.spec.host_ipc,
        ports=ports,
        sysctls={entry.name: entry.value for entry in pod.spec.security_context.sysctls},
    )


class SandboxMaker:
    """Of one pod. ``event(type, reason, message)`` records an event on it."""

    def __init__(self, context: NodeContext, facts: PodFacts, directory: PodDirectory, event: Callable[[str, str, str], None]) -> None:
        self._context = context
        self._facts = facts
        self._directory = directory
        self._event = event

    async def prepare(self, pod: core.Pod) -> None:
        """Makes the directory and the volumes, or brings them up to date."""
        try:
            references = await self._context.references.read(pod)
            volumes = contents(pod, references, self._context.node, pod.status.pod_ip)
            context = pod.spec.security_context
            group = context.fs_group if context.HasField("fs_group") else None
            if pod.spec.volumes:
                await self._context.files.call(self._directory.set_up, volumes, group)
            else:
                self._directory.set_up(volumes, group)
            self._facts.volumes_ready = True
            self._facts.failures.pop(VOLUMES, None)
        except (VolumeError, OSError, StatusError) as error:
            self._event("Warning", "FailedMount", str(error))
            now = self._context.clock.now()
            self._facts.failures[VOLUMES] = StartFailure("ContainerCreating", str(error), now, now + RETRY)

    async def create(self, pod: core.Pod, attempt: int) -> None:
        """Makes the sandbox and the pod's name files."""
        settings = self._context.settings
        try:
            async with self._context.starts:
                sandbox = await self._context.runtime.create_sandbox(sandbox_plan(pod, attempt, settings.cluster_domain))
        except (RuntimeFailure, NameTooLong) as error:
            now = self._context.clock.now()
            self._facts.failures[SANDBOX] = StartFailure("ContainerCreating", str(error), now, now + RETRY)
            if not isinstance(error, RuntimeUnavailable):
                self._event("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            log.warning("no sandbox", extra={"pod": pod.metadata.name, "error": str(error)})
            return
        self._facts.failures.pop(SANDBOX, None)
        for words in write_name_files(pod, sandbox, self._directory, settings):
            self._event("Warning", "DNSConfigForming", words)


def write_name_files(pod: core.Pod, sandbox: Sandbox, directory: PodDirectory, settings: KubeletSettings) -> list[str]:
    """/etc/hosts and /etc/resolv.conf of the pod; answers in words what had to be left out of the latter."""
    node_hosts = _text(NODE_HOSTS) if pod.spec.host_network else ""
    directory.hosts.write_text(hosts_file(pod, sandbox.ip or settings.node_ip, settings.cluster_domain, node_hosts))
    resolver, left_out = resolver_of(pod, node_resolver(settings.resolv_conf), settings.cluster_dns, settings.cluster_domain)
    directory.resolv_conf.write_text(str(resolver))
    return left_out


def _text(path: Path) -> str:
    """Of a file of the node; empty when it has none."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
