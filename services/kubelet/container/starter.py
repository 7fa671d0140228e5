"""Starting a container: image, plan, create, start; each failure becomes the reason its status shows."""

from __future__ import annotations

import logging
from datetime import timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import StatusError
from services.kubelet.container.env_files import EnvFiles, read_files, wanted_files
from services.kubelet.container.files import bind_places, check_places_are_seen, release_places
from services.kubelet.container.identity import STRICT
from services.kubelet.container.image_fetcher import ImageFetcher
from services.kubelet.container.image_volumes import ImageVolumes, NotLaid, VolumeImageFailure
from services.kubelet.container.inputs import ConfigError, ContainerInputs, SecurityFacts
from services.kubelet.container.oom import lowest_possible
from services.kubelet.container.plan import container_plan
from services.kubelet.container.profiles import LOCALHOST, NoProfile, read_seccomp, seccomp_of
from services.kubelet.csi.client import DriverError
from services.kubelet.devices.cdi import NOTHING, Edits, Unresolvable, resolve
from services.kubelet.node.images import ImageFailure
from services.kubelet.pod.actions import StartContainer
from services.kubelet.pod.contents import VolumeError
from services.kubelet.pod.context import PodContext
from services.kubelet.pod.facts import StartFailure, next_backoff
from services.kubelet.pod.missing import Missing
from services.kubelet.pod.name_files import write_name_files
from services.kubelet.pod.references import References
from services.kubelet.pod.spec import container_hash
from services.kubelet.runtime.plan import ContainerPlan
from services.kubelet.runtime.port import CREATED, RUNNING, Container, Image, RuntimeFailure, RuntimeUnavailable, Sandbox

log = logging.getLogger(__name__)

# How long a container that could not be made waits before it is tried again.
CONFIG_RETRY = timedelta(seconds=5)
UNAVAILABLE_RETRY = timedelta(seconds=1)


class CreateFailure(Exception):
    """The engine did not make the container: the message of CreateContainerError."""


class ContainerStarter:
    """Starts the containers of one pod."""

    def __init__(self, context: PodContext) -> None:
        self._shared = context.shared
        self._facts = context.facts
        self._directory = context.directory
        self._event = context.events.container
        self._images = ImageFetcher(context)
        self._image_volumes = ImageVolumes(context, self._images)

    @property
    def pulling(self) -> set[str]:
        """Containers whose image is being fetched: these starts may be abandoned."""
        return self._images.pulling

    async def start(self, pod: core.Pod, action: StartContainer, sandbox: Sandbox) -> None:
        """Fetches the image, creates and starts. A failure is left in ``facts.failures``, not raised."""
        spec = action.spec
        now = self._shared.clock.now()
        crashes = self._facts.crash.get(spec.name)
        try:
            references = await self._shared.references.read(pod)
            image = await self._images.fetch(pod, spec, references)
            if action.after is not None:
                # Of another definition nothing is known yet.
                before = crashes if action.after.spec_hash == container_hash(spec) else None
                self._facts.crash[spec.name] = next_backoff(before, action.after.finished_at or now, self._shared.clock.now())
            await self._create_and_start(await self._inputs(pod, action, sandbox, image, references))
            self._facts.failures.pop(spec.name, None)
        except ImageFailure as failure:
            self._images.fail(spec, failure)
        except VolumeImageFailure as error:
            self._images.fail(error.asked, error.failure)
        except (ConfigError, VolumeError, Missing) as error:
            self._event("Warning", "Failed", f"Error: {error}", spec.name)
            self._fail(spec.name, "CreateContainerConfigError", str(error), CONFIG_RETRY)
        except (CreateFailure, NotLaid, NoProfile, Unresolvable, DriverError) as error:
            self._event("Warning", "Failed", f"Error: {error}", spec.name)
            self._fail(spec.name, "CreateContainerError", str(error), CONFIG_RETRY)
        except (RuntimeUnavailable, StatusError) as error:
            # Not the container's fault: its next start waits no longer for this.
            if crashes is None:
                self._facts.crash.pop(spec.name, None)
            else:
                self._facts.crash[spec.name] = crashes
            self._fail(spec.name, "ContainerCreating", str(error), UNAVAILABLE_RETRY)
        except Exception as error:
            # A container that nobody can make is that pod's trouble only, and is told as such.
            log.exception("a container cannot be made", extra={"pod": pod.metadata.name, "container": spec.name})
            self._fail(spec.name, "CreateContainerError", f"{type(error).__name__}: {error}", CONFIG_RETRY)

    async def _inputs(
        self, pod: core.Pod, action: StartContainer, sandbox: Sandbox, image: Image, references: References
    ) -> ContainerInputs:
        """All that the container is made of. Raises what ``start`` tells of."""
        spec = action.spec
        names, edits = await self._devices(pod, spec)
        return ContainerInputs(
            pod,
            spec,
            action.attempt,
            sandbox,
            image,
            references,
            self._shared.node,
            self._directory,
            lowest_oom_score=lowest_possible(),
            target_id=self._target(pod, spec.name),
            env_files=await self._env_files(spec),
            security=await self._security(pod, spec, image),
            images=await self._image_volumes.lay(pod, spec, references),
            cgroup_parent=self._shared.groups.parent(pod),
            cpus=self._facts.cpus,
            cdi_devices=names,
            edits=edits,
            swap_bytes=self._facts.swap.of(pod, spec),
        )

    def _target(self, pod: core.Pod, name: str) -> str:
        """The id of the container that an ephemeral one is to look into; raises ConfigError while it does not run."""
        wanted = next((added.target_container_name for added in pod.spec.ephemeral_containers if _is_named(added, name)), "")
        if not wanted:
            return ""
        observation = self._shared.runtime.observe(pod.metadata.uid)
        target = observation.latest(wanted) if observation is not None else None
        if target is None or target.state != RUNNING:
            raise ConfigError(f"unable to find target container {wanted}")
        return target.id

    async def _security(self, pod: core.Pod, spec: core.Container, image: Image) -> SecurityFacts:
        """Raises NoProfile where the node has none of that name, CreateFailure where groups that are to be left out are unknown."""
        context, pod_context = spec.security_context, pod.spec.security_context
        profile, found = seccomp_of(context, pod_context), None
        if profile.type == LOCALHOST:
            found = await self._shared.files.call(read_seccomp, self._shared.node.root, profile.localhost_profile)
        try:
            return SecurityFacts(await self._shared.runtime.accounts(image), found)
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            if pod_context.supplemental_groups_policy == STRICT:
                raise CreateFailure(f"the groups of image {image.reference} cannot be told: {error}") from error
            log.warning("the accounts of an image cannot be read", extra={"image": image.reference, "error": str(error)})
            return SecurityFacts(None, found)

    async def _devices(self, pod: core.Pod, spec: core.Container) -> tuple[tuple[str, ...], Edits]:
        """What its claims give it: names where the engine reads the node's files, else what lies in those. Raises DriverError and
        Unresolvable."""
        asks = spec.resources.claims or pod.status.extended_resource_claim_status.request_mappings
        names = self._shared.devices.names(pod, spec) if asks else ()
        if not names or self._shared.runtime.reads_cdi:
            return names, NOTHING
        return (), await self._shared.files.call(resolve, names, self._shared.settings.cdi_folders)

    async def _env_files(self, spec: core.Container) -> EnvFiles | None:
        """Of the pod's own volumes; the plan says where another one is asked for."""
        wanted = wanted_files(spec)
        if not wanted or not self._shared.runtime.mounts_files:
            return None
        places = {name: self._directory.volume_path(name) for name, _ in wanted}
        return await self._shared.files.call(read_files, wanted, places)

    async def _create_and_start(self, inputs: ContainerInputs) -> None:
        plan = container_plan(inputs)
        self._prepare_files(plan, inputs)
        places = [mount for mount in plan.mounts if mount.volume] if self._shared.runtime.mounts_files else []
        async with self._shared.starts:
            if places:
                await self._shared.files.call(check_places_are_seen)
                await self._shared.files.call(bind_places, places)
            started = await self._run(plan)
            if places:
                # Not after an answer that was lost: the engine may look there still. The next start or the pod's end clears it away.
                await self._shared.files.call(release_places, places)
        if started:
            self._event("Normal", "Started", "Container started", plan.name)

    async def _run(self, plan: ContainerPlan) -> bool:
        """Whether it was started; one that was not is observed as one that ended. Raises CreateFailure and RuntimeUnavailable."""
        container = await self._create(plan)
        if container.state != CREATED:
            # Started before, by a call whose answer was lost: it may have done its work and ended, which it does once.
            return True
        self._event("Normal", "Created", "Container created", plan.name)
        try:
            await self._shared.runtime.start_container(container, plan.pod)
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            self._event("Warning", "Failed", f"Error: {error}", plan.name)
            return False
        return True

    def _prepare_files(self, plan: ContainerPlan, inputs: ContainerInputs) -> None:
        self._directory.prepare_container(plan.name, plan.attempt)
        if not self._directory.has_names:
            write_name_files(inputs.pod, inputs.sandbox, self._directory, self._shared.settings)

    async def _create(self, plan: ContainerPlan) -> Container:
        try:
            return await self._shared.runtime.create_container(plan)
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            raise CreateFailure(str(error)) from error

    def _fail(self, name: str, reason: str, message: str, retry: timedelta) -> None:
        now = self._shared.clock.now()
        self._facts.failures[name] = StartFailure(reason, message, now, now + retry)
        log.info("container not started", extra={"container": name, "reason": reason, "error": message})


def _is_named(added: core.EphemeralContainer, name: str) -> bool:
    return bool(added.ephemeral_container_common.name == name)
