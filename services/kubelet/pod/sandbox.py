"""Making a pod's directory, volumes and sandbox."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.node.v1 import node_pb2 as node
from knarr.client.backoff import Backoff
from knarr.machinery.errors import TRANSIENT, StatusError
from knarr.objects.pods import has_own_users
from services.kubelet.csi.client import DriverError
from services.kubelet.csi.mounts import NotYet
from services.kubelet.csi.volume import DriverVolume
from services.kubelet.pod.actions import SANDBOX, VOLUMES
from services.kubelet.pod.contents import Content, HostDirectory, VolumeError
from services.kubelet.pod.context import PodContext
from services.kubelet.pod.facts import StartFailure
from services.kubelet.pod.group import group_limits
from services.kubelet.pod.missing import Missing
from services.kubelet.pod.name_files import write_name_files
from services.kubelet.pod.names import NameTooLong
from services.kubelet.pod.ownership import Giving, give_to_group
from services.kubelet.pod.sandbox_plan import sandbox_plan
from services.kubelet.pod.volumes import content_of
from services.kubelet.runtime.port import RuntimeFailure, RuntimeUnavailable

RETRY = timedelta(seconds=2)
# Where a pod has its volumes and they cannot be brought up to date; a change of what they show is a new reason to try.
REFRESH_RETRY = timedelta(seconds=60)
DRIVER_RETRY, ATTACH_RETRY = Backoff(first_seconds=0.5, limit_seconds=122.0), Backoff(first_seconds=0.5, limit_seconds=4.0)
# How long a volume may take to be attached before an event says that it is not.
ATTACH_PATIENCE = timedelta(seconds=123)
log = logging.getLogger(__name__)


class Unprepared(DriverError):
    """Devices that the pod's claims have cannot be made ready on the node."""

    reason = "FailedPrepareDynamicResources"


class SandboxMaker:
    """Makes directory, volumes and sandbox of one pod."""

    def __init__(self, context: PodContext) -> None:
        self._shared = context.shared
        self._facts = context.facts
        self._directory = context.directory
        self._event = context.events.pod
        self._driver_failures = 0

    async def prepare(self, pod: core.Pod) -> None:
        """Makes the directory and the volumes, or brings them up to date."""
        # Before anything is read: what changes meanwhile is looked at again.
        self._facts.volumes_stale = False
        try:
            await self._lay(pod)
            await self._prepare_devices(pod)
            self._facts.volumes_ready = True
            self._facts.failures.pop(VOLUMES, None)
            self._driver_failures = 0
        except Exception as error:
            if not isinstance(error, VolumeError | DriverError | Missing | OSError | StatusError):
                log.exception("volumes cannot be made", extra={"pod": pod.metadata.name})
            if not isinstance(error, NotYet) or self._shared.clock.now() - self._facts.seen_at > ATTACH_PATIENCE:
                told = error.reason if isinstance(error, VolumeError | Unprepared) else "FailedMount"
                self._event("Warning", told, self._words(pod, error))
            self._facts.volumes_stale = True
            now = self._shared.clock.now()
            self._facts.failures[VOLUMES] = StartFailure("ContainerCreating", str(error), now, now + self._retry(error))

    async def _lay(self, pod: core.Pod) -> None:
        """Brings every volume up to date that can be, whatever the others lack: a token is renewed beside a ConfigMap that is gone. Raises
        what the first one lacks."""
        references = await self._shared.references.read(pod)
        volumes: dict[str, Content] = {}
        troubles: list[Exception] = []
        for volume in pod.spec.volumes:
            try:
                volumes[volume.name] = content_of(pod, volume, references, self._shared.node, pod.status.pod_ip)
            except VolumeError as error:
                troubles.append(error)
        self._facts.folders |= {found.path for found in volumes.values() if isinstance(found, HostDirectory) and found.made}
        for set_up in (self._set_up_own, self._set_up_driven):
            try:
                await set_up(pod, volumes)
            except (VolumeError, DriverError, OSError, StatusError) as error:
                troubles.append(error)
        if troubles:
            raise troubles[0]

    async def _prepare_devices(self, pod: core.Pod) -> None:
        """Raises Unprepared, in Kubernetes' words."""
        if not pod.spec.resource_claims and not pod.status.extended_resource_claim_status.resource_claim_name:
            return
        self._facts.driven = True
        observation = self._shared.runtime.observe(pod.metadata.uid)
        begun = observation is not None and observation.sandbox is not None and observation.sandbox.ready
        try:
            await self._shared.devices.prepare(pod, begun=begun)
        except (DriverError, OSError) as error:
            raise Unprepared(f"Failed to prepare dynamic resources: prepare dynamic resources: {error}") from error

    async def _set_up_own(self, pod: core.Pod, volumes: Mapping[str, Content]) -> None:
        if pod.spec.volumes:
            await self._shared.files.call(self._directory.set_up, volumes, *self._group(pod))
        else:
            self._directory.set_up(volumes)

    async def _set_up_driven(self, pod: core.Pod, volumes: Mapping[str, Content]) -> None:
        wanted = [found for found in volumes.values() if isinstance(found, DriverVolume)]
        if not wanted:
            return
        self._facts.driven = True
        group, giving = self._group(pod)
        for path in await self._shared.drivers.set_up(pod, wanted, group):
            if group is not None:
                await self._shared.files.call(give_to_group, path, group, giving)

    def _group(self, pod: core.Pod) -> tuple[int | None, Giving]:
        """Whose the files of volumes are to be, and whether those that are there already are given to it."""
        context = pod.spec.security_context
        giving = Giving(context.fs_group_change_policy or Giving.ALWAYS.value)
        return context.fs_group if context.HasField("fs_group") else None, Giving.NEVER if self._facts.volumes_ready else giving

    def _retry(self, error: Exception) -> timedelta:
        """How long until the volumes are tried again. Drivers are asked less and less often, what is being attached is looked for."""
        if self._facts.volumes_ready:
            return REFRESH_RETRY
        if not isinstance(error, DriverError):
            return RETRY
        self._driver_failures += 1
        backoff = ATTACH_RETRY if isinstance(error, NotYet) else DRIVER_RETRY
        return timedelta(seconds=backoff.delay(self._driver_failures))

    def _words(self, pod: core.Pod, error: Exception) -> str:
        """Of a volume that is waited for, those of Kubernetes."""
        if not isinstance(error, NotYet):
            return str(error)
        names = [volume.name for volume in pod.spec.volumes]
        waited = f"[{' '.join(names)}]"
        return f"Unable to attach or mount volumes: unmounted volumes={waited}, unattached volumes={waited}: {error}"

    async def create(self, pod: core.Pod, attempt: int) -> None:
        """Makes the sandbox and the pod's name files."""
        settings = self._shared.settings
        try:
            self._check_users(pod)
            handler = await self._handler(pod.spec.runtime_class_name)
            async with self._shared.starts:
                await self._hold(pod)
                parent = self._shared.groups.parent(pod)
                sandbox = await self._shared.runtime.create_sandbox(sandbox_plan(pod, attempt, settings.cluster_domain, handler, parent))
        except OSError as error:
            now = self._shared.clock.now()
            self._facts.failures[SANDBOX] = StartFailure("ContainerCreating", str(error), now, now + RETRY)
            self._event("Warning", "FailedCreatePodContainer", f"unable to ensure pod container exists: {error}")
            return
        except (RuntimeFailure, NameTooLong, StatusError) as error:
            now = self._shared.clock.now()
            self._facts.failures[SANDBOX] = StartFailure("ContainerCreating", str(error), now, now + RETRY)
            if not isinstance(error, (RuntimeUnavailable, *TRANSIENT)):
                self._event("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            log.warning("no sandbox", extra={"pod": pod.metadata.name, "error": str(error)})
            return
        self._facts.failures.pop(SANDBOX, None)
        if self._shared.runtime.mounts_files or pod.spec.HasField("dns_config"):
            for words in write_name_files(pod, sandbox, self._directory, settings):
                self._event("Warning", "DNSConfigForming", words)

    def _check_users(self, pod: core.Pod) -> None:
        """Raises RuntimeFailure, in Kubernetes' words, where users of its own cannot be had: the pod is never run without."""
        if not has_own_users(pod.spec) or self._shared.runtime.user_namespaces:
            return
        name = pod.spec.runtime_class_name
        who = f'RuntimeClass handler "{name}"' if name else "runtime"
        raise RuntimeFailure(f"can't set `spec.hostUsers: false`, {who} does not support user namespaces")

    async def _hold(self, pod: core.Pod) -> None:
        """Makes the pod's control group, in which its containers are made. Raises OSError."""
        if self._shared.groups.there:
            limits = group_limits(pod, self._facts)
            await self._shared.groups.hold(pod, limits)
            self._facts.held = limits

    async def _handler(self, class_name: str) -> str:
        """By what of the engine a pod of a RuntimeClass runs; empty for its default. Raises StatusError, NotFound where there is no such
        class: the pod is never run by anything else."""
        if not class_name:
            return ""
        found = await self._shared.client.get(node.RuntimeClass, class_name)
        return str(found.handler)
