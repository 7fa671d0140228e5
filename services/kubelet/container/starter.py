"""Starting a container: image, configuration, create, start; each failure becomes the reason its status shows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import StatusError
from services.kubelet.container.inputs import ConfigError, ContainerInputs
from services.kubelet.container.oom import lowest_possible
from services.kubelet.container.plan import container_plan
from services.kubelet.node.images import ImageFailure, credentials
from services.kubelet.pod.actions import StartContainer
from services.kubelet.pod.context import NodeContext
from services.kubelet.pod.directory import PodDirectory
from services.kubelet.pod.facts import PodFacts, StartFailure, next_backoff
from services.kubelet.pod.name_files import write_name_files
from services.kubelet.pod.references import References
from services.kubelet.pod.spec import describe, pull_policy, ref_of
from services.kubelet.pod.volumes import VolumeError
from services.kubelet.runtime.plan import Mount
from services.kubelet.runtime.port import Image, RuntimeFailure, RuntimeUnavailable, Sandbox

log = logging.getLogger(__name__)

# How long a container whose configuration is not complete waits before it is tried again.
CONFIG_RETRY = timedelta(seconds=5)
UNAVAILABLE_RETRY = timedelta(seconds=1)

Event = Callable[[str, str, str, str], None]


class ContainerStarter:
    """Of one pod. ``event(type, reason, message, container)`` records an event about a container."""

    def __init__(self, context: NodeContext, facts: PodFacts, directory: PodDirectory, event: Event) -> None:
        self._context = context
        self._facts = facts
        self._directory = directory
        self._event = event
        # Containers whose image is being fetched: these starts may be abandoned.
        self.pulling: set[str] = set()

    async def start(self, pod: core.Pod, action: StartContainer, sandbox: Sandbox) -> None:
        """Does it all; failures are left in the facts."""
        spec = action.spec
        now = self._context.clock.now()
        crashes = self._facts.crash.get(spec.name)
        try:
            references = await self._context.references.read(pod)
            image = await self._image(pod, spec, references)
            if action.after is not None:
                self._facts.crash[spec.name] = next_backoff(crashes, action.after.finished_at or now, self._context.clock.now())
            await self._create_and_start(pod, action, sandbox, image, references)
            self._facts.failures.pop(spec.name, None)
        except ImageFailure as failure:
            self._fail_image(spec, failure)
        except (ConfigError, VolumeError) as error:
            self._event("Warning", "Failed", f"Error: {error}", spec.name)
            self._fail(spec.name, "CreateContainerConfigError", str(error), CONFIG_RETRY)
        except (RuntimeUnavailable, StatusError) as error:
            # Not the container's fault: its next start waits no longer for this.
            if crashes is None:
                self._facts.crash.pop(spec.name, None)
            else:
                self._facts.crash[spec.name] = crashes
            self._fail(spec.name, "ContainerCreating", str(error), UNAVAILABLE_RETRY)

    async def _create_and_start(
        self, pod: core.Pod, action: StartContainer, sandbox: Sandbox, image: Image, references: References
    ) -> None:
        spec = action.spec
        node, lowest = self._context.node, lowest_possible()
        plan = container_plan(ContainerInputs(pod, spec, action.attempt, sandbox, image, references, node, self._directory, lowest))
        if self._context.files.elsewhere:
            await self._context.files.call(refuse_escapes, plan.mounts)
        else:
            refuse_escapes(plan.mounts)
        log_file = self._directory.termination_log(spec.name, action.attempt)
        prepare_termination_log(log_file)
        if not self._directory.resolv_conf.exists():
            write_name_files(pod, sandbox, self._directory, self._context.settings)
        runtime = self._context.runtime
        async with self._context.starts:
            try:
                container = await runtime.create_container(plan)
            except RuntimeUnavailable:
                raise
            except RuntimeFailure as error:
                self._event("Warning", "Failed", f"Error: {error}", spec.name)
                self._fail(spec.name, "CreateContainerError", str(error), CONFIG_RETRY)
                return
            self._event("Normal", "Created", f"Created container: {spec.name}", spec.name)
            try:
                await runtime.start_container(container, ref_of(pod))
            except RuntimeUnavailable:
                raise
            except RuntimeFailure as error:
                self._event("Warning", "Failed", f"Error: {error}", spec.name)
                return
        self._event("Normal", "Started", f"Started container {spec.name}", spec.name)

    async def _image(self, pod: core.Pod, spec: core.Container, references: References) -> Image:
        found = await self._context.images.present(spec.image, pull_policy(spec))
        if found is not None:
            if spec.name not in self._facts.crash:
                self._event("Normal", "Pulled", f'Container image "{spec.image}" already present on machine', spec.name)
            return found
        self._event("Normal", "Pulling", f'Pulling image "{spec.image}"', spec.name)
        auth = credentials(spec.image, references.secrets, [reference.name for reference in pod.spec.image_pull_secrets])
        started = asyncio.get_running_loop().time()
        self.pulling.add(spec.name)
        try:
            image = await self._context.images.pull(spec.image, auth)
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            advice = self._context.settings.pull_advice.replace("{image}", spec.image)
            text = f"{error}; {advice}" if advice else str(error)
            self._event("Warning", "Failed", f'Failed to pull image "{spec.image}": {text}', spec.name)
            raise ImageFailure("ErrImagePull", text) from error
        finally:
            self.pulling.discard(spec.name)
        seconds = f"{asyncio.get_running_loop().time() - started:.3f}s"
        size = f" Image size: {image.size_bytes} bytes." if image.size_bytes else ""
        message = f'Successfully pulled image "{spec.image}" in {seconds} ({seconds} including waiting).{size}'
        self._event("Normal", "Pulled", message, spec.name)
        self._facts.pulls.pop(spec.name, None)
        return image

    def _fail_image(self, spec: core.Container, failure: ImageFailure) -> None:
        now = self._context.clock.now()
        if failure.reason == "ErrImageNeverPull":
            self._event("Warning", "ErrImageNeverPull", failure.message, spec.name)
        elif failure.reason == "InvalidImageName":
            self._event("Warning", "InspectFailed", failure.message, spec.name)
        self._event("Warning", "Failed", f"Error: {failure.reason}", spec.name)
        backoff = next_backoff(self._facts.pulls.get(spec.name), now, now)
        self._facts.pulls[spec.name] = backoff
        pulled = failure.reason == "ErrImagePull"
        message = f'Back-off pulling image "{spec.image}": ErrImagePull: {failure.message}'
        self._facts.failures[spec.name] = StartFailure(
            failure.reason, failure.message, now, now + backoff.delay, "ImagePullBackOff" if pulled else "", message if pulled else ""
        )

    def _fail(self, name: str, reason: str, message: str, retry: timedelta) -> None:
        now = self._context.clock.now()
        self._facts.failures[name] = StartFailure(reason, message, now, now + retry)
        log.info("container not started", extra={"container": name, "reason": reason, "error": message})


def refuse_escapes(mounts: Iterable[Mount]) -> None:
    """A link that a container laid into its volume must not show another container the node. Raises ConfigError."""
    for mount in mounts:
        if mount.root and not Path(mount.source).resolve().is_relative_to(Path(mount.root).resolve()):
            raise ConfigError(f"the subPath of {mount.target} leads out of its volume")


def prepare_termination_log(path: Path) -> None:
    """An empty file that any user of the container may write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.chmod(0o666)


def back_off_message(pod: core.Pod, name: str) -> str:
    """The words of the BackOff event of a container that keeps failing."""
    return f"Back-off restarting failed container {name} in pod {describe(pod)}"
