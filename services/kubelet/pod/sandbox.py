"""Making a pod's directory, volumes and sandbox."""

from __future__ import annotations

import logging
from datetime import timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.node.v1 import node_pb2 as node
from knarr.machinery.errors import TRANSIENT, StatusError
from services.kubelet.pod.actions import SANDBOX, VOLUMES
from services.kubelet.pod.contents import HostDirectory, VolumeError
from services.kubelet.pod.context import PodContext
from services.kubelet.pod.facts import StartFailure
from services.kubelet.pod.missing import Missing
from services.kubelet.pod.name_files import write_name_files
from services.kubelet.pod.names import NameTooLong
from services.kubelet.pod.ownership import Giving
from services.kubelet.pod.sandbox_plan import sandbox_plan
from services.kubelet.pod.volumes import contents
from services.kubelet.runtime.port import RuntimeFailure, RuntimeUnavailable

RETRY = timedelta(seconds=2)
# Where a pod has its volumes and they cannot be brought up to date; a change of what they show is a new reason to try.
REFRESH_RETRY = timedelta(seconds=60)
log = logging.getLogger(__name__)


class SandboxMaker:
    """Makes directory, volumes and sandbox of one pod."""

    def __init__(self, context: PodContext) -> None:
        self._shared = context.shared
        self._facts = context.facts
        self._directory = context.directory
        self._event = context.events.pod

    async def prepare(self, pod: core.Pod) -> None:
        """Makes the directory and the volumes, or brings them up to date."""
        # Before anything is read: what changes meanwhile is looked at again.
        self._facts.volumes_stale = False
        try:
            references = await self._shared.references.read(pod)
            volumes = contents(pod, references, self._shared.node, pod.status.pod_ip)
            self._facts.folders = frozenset(found.path for found in volumes.values() if isinstance(found, HostDirectory) and found.made)
            context = pod.spec.security_context
            group = context.fs_group if context.HasField("fs_group") else None
            if pod.spec.volumes:
                giving = Giving(context.fs_group_change_policy or Giving.ALWAYS.value)
                giving = Giving.NEVER if self._facts.volumes_ready else giving
                await self._shared.files.call(self._directory.set_up, volumes, group, giving)
            else:
                self._directory.set_up(volumes, group)
            self._facts.volumes_ready = True
            self._facts.failures.pop(VOLUMES, None)
        except Exception as error:
            if not isinstance(error, VolumeError | Missing | OSError | StatusError):
                log.exception("volumes cannot be made", extra={"pod": pod.metadata.name})
            self._event("Warning", "FailedMount", str(error))
            self._facts.volumes_stale = True
            now = self._shared.clock.now()
            self._facts.failures[VOLUMES] = StartFailure(
                "ContainerCreating", str(error), now, now + (REFRESH_RETRY if self._facts.volumes_ready else RETRY)
            )

    async def create(self, pod: core.Pod, attempt: int) -> None:
        """Makes the sandbox and the pod's name files."""
        settings = self._shared.settings
        try:
            handler = await self._handler(pod.spec.runtime_class_name)
            async with self._shared.starts:
                sandbox = await self._shared.runtime.create_sandbox(sandbox_plan(pod, attempt, settings.cluster_domain, handler))
        except (RuntimeFailure, NameTooLong, StatusError) as error:
            now = self._shared.clock.now()
            self._facts.failures[SANDBOX] = StartFailure("ContainerCreating", str(error), now, now + RETRY)
            if not isinstance(error, (RuntimeUnavailable, *TRANSIENT)):
                self._event("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            log.warning("no sandbox", extra={"pod": pod.metadata.name, "error": str(error)})
            return
        self._facts.failures.pop(SANDBOX, None)
        for words in write_name_files(pod, sandbox, self._directory, settings):
            self._event("Warning", "DNSConfigForming", words)

    async def _handler(self, class_name: str) -> str:
        """By what of the engine a pod of a RuntimeClass runs; empty for its default. Raises StatusError, NotFound where there is no such
        class: the pod is never run by anything else."""
        if not class_name:
            return ""
        found = await self._shared.client.get(node.RuntimeClass, class_name)
        return str(found.handler)
